"""What is left of the protection after a network that was trained to remove it, by somebody who has the generator but not the key.

    python -m benchmarks.remover --generator checkpoints/portrait-generator --save remover.safetensors --out docs/remover
    python -m benchmarks.remover --load remover.safetensors --adversary-trains checkpoints/portrait-generator their/generator

The remover is a residual U-Net, trained for `--minutes` of one processor core on photos of training people that the public generator
protected with random keys and budgets. It is tried on unseen people whose face fills the photo, protected with keys that it has never seen
and written as 8-bit files. Clips are made of the clean photo, the protected one, noise that is as strong, and what the remover makes of the
protected one: in one pass, in two, and of the ways of `WAYS` the one that objective embedders find best for the adversary.
`--adversary-trains` are generators whose residual an adversary subtracts: the public one, or one of their own (`inversion`).
Figures are averaged over seeds for each person first; intervals are over people.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from torch import Tensor

from anti_i2v.embedders import load_embedder
from anti_i2v.evaluation.noise import white_noise
from anti_i2v.evaluation.report import Interval, Summary, interval, summarise, write_texts
from anti_i2v.evaluation.runner import as_saved
from anti_i2v.imaging.metrics import mean_interval, psnr, rms255
from anti_i2v.inference.batches import Windows
from anti_i2v.keys import KEY_SIZE
from anti_i2v.portraits import PortraitClips
from anti_i2v.protector import Protector
from anti_i2v.resources import commit
from benchmarks import inversion
from benchmarks.remover_network import Remover
from benchmarks.remover_training import Plan, draw_faces, train, windows_of
from benchmarks.tables import cell as figure
from benchmarks.tables import grid, percent
from benchmarks.view_photos import face_box
from benchmarks.views import Animator

QUICK = {"people": 16, "seeds": [0], "steps": 8, "minutes": 4.0, "wrong_keys": 12, "inversion_steps": [1, 5], "animate": 1, "photos": 300}
"""What `--quick` sets where nothing else is given; to be compared with other quick runs only."""

WAYS = {
    "removed": (1.0, 1),
    "removed twice": (1.0, 2),
    "removed, factor 1.5": (1.5, 1),
    "removed, factor 2": (2.0, 1),
    "removed three times": (1.0, 3),
}
"""What an adversary does with a remover: factor of the residual that it sees, passes."""

ALWAYS = ("removed", "removed twice")

NOTES = (
    "left: RMS of the photo's difference from the clean one, in 1/255; share: of the residual's energy that is left (100 %: all)",
    "likeness: cosine to the clean photo after the video model's autoencoder, by objective embedders",
    "identity shift and rank-1 accuracy are of the clip; noise has the RMS of the residual",
)


@torch.no_grad()
def protect(options: argparse.Namespace, protector: Protector) -> tuple[dict[str, Tensor], Windows | None]:
    """Clean, protected and noisy photos of test people, (P, 3, S, S) as read from files, and their windows if they are known ones."""
    size, who = options.model_size, range(options.people)
    random = torch.Generator().manual_seed(options.seed + 1000)  # keys: not those of any training step
    keys = torch.randn(options.people, KEY_SIZE, generator=random)
    drawn = PortraitClips("test", 1, size, size).batch(who)
    clean, faces = as_saved(drawn.video[:, 0]), [face_box(mask) for mask in drawn.face_mask[:, 0, 0]]
    windows = windows_of(protector, clean, faces if options.known_faces else None)
    parts = [slice(first, first + options.batch) for first in range(0, options.people, options.batch)]
    protected = as_saved(torch.cat([protector(clean[rows], options.epsilon, keys[rows], windows[rows]) for rows in parts]))
    noise = as_saved(white_noise(clean, rms255(protected - clean), options.epsilon, random))
    return {"clean": clean, "protected": protected, "noise": noise}, windows if options.known_faces else None


def removed(remover: Remover, versions: dict[str, Tensor], like: inversion.Like) -> tuple[dict[str, Tensor], dict[str, dict[str, Tensor]]]:
    """The photos that are animated, and measure → (P,) of all versions of a photo, before any clip."""
    ways = {name: remover.remove(versions["protected"], *way) for name, way in WAYS.items()}
    clean, energy = versions["clean"], (versions["protected"] - versions["clean"]).square().flatten(1).sum(1)
    measures = {}
    for name, photos in {**versions, **ways}.items():
        share = (photos - clean).square().flatten(1).sum(1) / energy.clamp_min(1e-12)
        measures[name] = {"left": rms255(photos - clean), "share": share, "psnr": psnr(clean, photos), "likeness": like(photos)}
    measures["clean"].pop("psnr")
    best = max(ways, key=lambda name: float(measures[name]["likeness"].mean()))
    return {**versions, **{name: ways[name] for name in dict.fromkeys((*ALWAYS, best))}}, measures


def get_remover(options: argparse.Namespace, protector: Protector) -> tuple[Remover, dict[str, object]]:
    """The remover that is to be loaded, or one that is trained now, and how that went."""
    if options.load is not None:
        return Remover.load(options.load), {"loaded": options.load.name}
    faces = draw_faces(protector, options.photos, options.model_size, options.seed, options.known_faces)
    embedder = load_embedder(options.faces, "objective") if options.likeness else None
    if embedder is not None:
        embedder.requires_grad_(False).eval()
    plan = Plan(options.minutes, options.train_steps, options.train_batch, squared=options.loss == "mse", likeness=options.likeness,
                seed=options.seed)  # fmt: skip
    remover, facts = train(protector, faces, plan, options.width, embedder)
    if options.save is not None:
        remover.save(options.save)
    return remover, facts


def table(photos: dict[str, dict[str, Interval]], results: Summary) -> str:
    """What is left of the residual in every version, and what their clips show."""
    rows = []
    for name, of in photos.items():
        clip = results.get(name, {})
        row = [name, figure(of["left"], 1), percent(of["share"]), figure(of.get("psnr"), 1), figure(of["likeness"])]
        rows.append([*row, figure(clip.get("identity_shift")), percent(clip.get("rank1"))])
    return grid(["photo", "left, RMS", "share", "PSNR to the clean photo in dB", "likeness", "identity shift", "rank-1 accuracy"], rows)


def write(options: argparse.Namespace, data: dict[str, object]) -> None:
    """Write `remover.json` and `remover.md`; after each part, so that a long run leaves what it has."""
    lines = ["# Remover", "", *[f"* {name}: {value}" for name, value in data["facts"].items()], ""]  # type: ignore[attr-defined]
    if "results" in data:
        lines += ["## Training", "", *[f"* {name}: {value}" for name, value in data["training"].items()], ""]  # type: ignore[attr-defined]
        lines += ["## What is left", "", table(data["photos"], data["results"]), ""]  # type: ignore[arg-type]
    lines += inversion.lines(data.get("inversion", {}))  # type: ignore[arg-type]
    lines += [f"* {note}" for note in NOTES]
    write_texts(options.out, {"remover.json": json.dumps(data, indent=1, ensure_ascii=False) + "\n", "remover.md": "\n".join(lines) + "\n"})


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator", default="portrait-generator", help="the public one: folder, or the name of a shipped one")
    parser.add_argument("--epsilon", type=float, default=8.0, help="of the test photos")
    parser.add_argument("--minutes", type=float, default=30.0, help="of one processor core that the remover is trained")
    parser.add_argument("--train-steps", type=int, default=0, help="end the training earlier, after so many steps")
    parser.add_argument("--train-batch", type=int, default=8)
    parser.add_argument("--photos", type=int, default=1200, help="of training people")
    parser.add_argument("--width", type=int, default=32, help="channels of the remover's finest scale")
    parser.add_argument("--loss", choices=("mse", "l1"), default="mse")
    parser.add_argument("--likeness", type=float, default=0.0, help="weight of the distance of face embeddings in the remover's loss")
    parser.add_argument("--faces", default="portrait-faces", help="what embeds faces for that")
    parser.add_argument("--known-faces", action="store_true", help="windows around the rendered faces, not where the generator finds them")
    parser.add_argument("--load", type=Path, help="a remover that --save wrote, instead of training one")
    parser.add_argument("--save", type=Path, help="safetensors file for the remover")
    parser.add_argument("--adversary-trains", nargs="*", default=[], dest="adversary", help="generators whose residual is subtracted")
    parser.add_argument("--only-inversion", action="store_true", help="no remover")
    parser.add_argument("--wrong-keys", type=int, default=100, help="keys that an adversary tries")
    parser.add_argument("--inversion-steps", type=int, nargs="+", default=list(inversion.STEPS), help="that an adversary tries")
    parser.add_argument("--animate", type=int, default=3, help="of each adversary's estimates: how many of the worst")
    parser.add_argument("--people", type=int, default=64)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the clips' noise")
    parser.add_argument("--seed", type=int, default=0, help="of training and keys")
    parser.add_argument("--surrogate", default="portrait-dit")
    parser.add_argument("--model-size", type=int, default=128, help="side of photos and clips in pixels")
    parser.add_argument("--frames", type=int, default=9)
    parser.add_argument("--steps", type=int, default=20, help="denoising steps")
    parser.add_argument("--judge", default="portrait-judge")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--quick", action="store_true", help=", ".join(f"--{name.replace('_', '-')} {v}" for name, v in QUICK.items()))
    parser.add_argument("--out", type=Path, default=Path("docs/remover"))
    if parser.parse_args(arguments).quick:
        parser.set_defaults(**QUICK)  # what is given in words counts all the same
    options = parser.parse_args(arguments)
    if options.minutes <= 0 or options.photos < 1 or options.train_batch < 1:
        parser.error("--minutes, --photos and --train-batch must be above 0")
    if options.only_inversion and not options.adversary:
        parser.error("--only-inversion needs --adversary-trains with at least one generator")
    return options


def main(arguments: list[str] | None = None) -> None:
    """Train, protect, remove, animate, judge; write `remover.json` and `remover.md`, and print the latter."""
    options = parse(arguments)
    protector = Protector.from_pretrained(options.generator, backend="torch")
    protector.generator.requires_grad_(False).eval()
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items() if name != "out"}
    data: dict[str, object] = {"facts": {"commit": commit() or "unknown", **settings}, "notes": NOTES}
    remover, training = (None, {}) if options.only_inversion else get_remover(options, protector)
    animator = Animator(options)
    versions, windows = protect(options, protector)
    if remover is not None:
        photos, measures = removed(remover, versions, inversion.Likeness(animator.surrogate, versions["clean"], batch=options.batch))
        shown = summarise([animator.measure(list(range(options.people)), photos, "clips")])
        means = {name: {m: interval(mean_interval(value)) for m, value in of.items()} for name, of in measures.items()}
        data |= {"training": training, "photos": means, "results": shown}
        write(options, data)
    if options.adversary:
        data["inversion"] = inversion.try_generators(options, animator, versions["clean"], versions["protected"], windows)
        write(options, data)
    print((options.out / "remover.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
