"""The evidence: the identity shift of clips after one pass of the generator, beside PGD on each photo.

    python benchmarks/evidence.py --surrogates portrait-dit portrait-unet --out docs/evidence

Each test person's photo is protected in one pass, by PGD of several lengths against the first surrogate, and changed by white
noise and by random parameters of the same RMS as one pass. Every version is written as an 8-bit PNG, read again, scaled to each
surrogate's size and animated from the same noise as the clean photo, once a seed. A surrogate is a white box for PGD if it is the
first, and for the generator if it was trained against it; else a black box. Figures are averaged over seeds for each person
first; intervals are over people, because clips of one person are not independent. PGD runs once a photo (`--pgd-seed`), and
PGD-20 is PGD-100 after 20 steps.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from anti_i2v.attacks import Settings, optimise
from anti_i2v.embedders import OBJECTIVE_EMBEDDERS
from anti_i2v.evaluation.clips import check_finite
from anti_i2v.evaluation.identity import References, identity_shift
from anti_i2v.evaluation.judging import Judges, identity_measures, load_judges
from anti_i2v.evaluation.noise import random_residual, white_noise
from anti_i2v.evaluation.pictures import examples, save_frames, save_gif
from anti_i2v.evaluation.report import cell, interval, markdown, ratio_interval, summarise, write_texts
from anti_i2v.evaluation.runner import animate_versions, as_saved
from anti_i2v.imaging.metrics import rms255
from anti_i2v.portraits import PortraitClips
from anti_i2v.portraits.references import portrait_references
from anti_i2v.protector import Protector
from anti_i2v.resources import commit, find_folder
from anti_i2v.surrogates import Surrogate
from benchmarks.parts import PARTS, attack_on

VERSIONS = {
    "clean": "clean photo",
    "white_noise": "white noise, RMS of one pass",
    "random_parameters": "random parameters, RMS of one pass",
    "one_pass": "one pass",
}
"""Version → how tables call it; `pgd_N` follow."""

DEFAULTS = {"portrait-dit": ("blocks.3,blocks.5", "128x128", 9), "portrait-unet": ("mid_block", "64x64", 9)}
"""Surrogate → what `--taps`, `--sizes` and `--frames` are unless they are given."""

NOTES = (
    "every figure is averaged over the seeds for each person first; intervals are over people (bootstrap for ratios and identity shifts)",
    "seconds: median wall time of one photo at a time for one pass; for PGD the wall time of its batches by photos and steps",
    "references are the same people in other clothes, light and poses; the photo's own figures are the control: there the person "
    "is still present, so a change is a judge that the residual fools",
)

BY_PERSON = (
    *("identity_similarity", "strangers_similarity", "similarity_drop", "rank1", "face"),
    *("photo_identity_similarity", "photo_similarity_drop"),
)
"""Measures of which the JSON holds each person's value."""

Measures = dict[str, dict[str, Tensor]]
"""Version → measure → (people,)."""


@dataclass(frozen=True)
class Photos:
    """`versions` → (P, 3, H, W) in [0, 1] as read from the file, the clean one first; `seconds` a photo of each method."""

    prompts: list[str]
    versions: dict[str, Tensor]
    seconds: dict[str, float]


@dataclass(frozen=True)
class ClipModel:
    """A surrogate, the judges that can judge its clips, references of the clips' size, and what its figures depend on."""

    surrogate: Surrogate
    judges: Judges
    references: References
    facts: dict[str, object]


def trained_against(generator: str) -> set[str]:
    """Names of the surrogates that a generator folder says it was trained against."""
    config = json.loads((find_folder(generator) / "config.json").read_text(encoding="utf-8"))
    names = config.get("surrogates") or config.get("surrogate") or []
    return {Path(name).name for name in ([names] if isinstance(names, str) else names)}


def load(options: argparse.Namespace) -> dict[str, ClipModel]:
    """The surrogates by name; references are rendered once a size."""
    prompts = PortraitClips("test", 1, 8, 8).batch(range(options.people)).prompts
    models: dict[str, ClipModel] = {}
    references: dict[str, References] = {}
    for name, taps, size, frames in zip(options.surrogates, options.taps, options.sizes, options.frames, strict=True):
        height, width = map(int, size.split("x"))
        surrogate = Surrogate.from_pretrained(name, taps.split(","), height, width, frames, options.steps)
        surrogate.encode_text(prompts)  # before the move: the text encoder stays where it is
        judges = load_judges(options.judge, options.actions if surrogate.has_text else None, frames, prompts, torch.device("cpu"))
        if not surrogate.has_text:
            judges.notes.append(f"actions are not judged: {name} takes no prompt")
        assert judges.identity is not None
        if size not in references:
            references[size] = portrait_references(judges.identity, "test", range(options.people), height, width)
        for part in (surrogate, judges.identity, judges.actions):
            if part is not None:
                part.to(options.device)
        white = {"generator": Path(name).name in trained_against(options.generator), "pgd": name == options.surrogates[0]}
        boxes = {who: "white box" if is_white else "black box" for who, is_white in white.items()}
        models[name] = ClipModel(surrogate, judges, references[size], {**boxes, "size": size, "frames": frames, "left_out": judges.notes})
    return models


@torch.no_grad()
def one_pass(protector: Protector, image: Tensor, epsilon: float, batch: int) -> tuple[Tensor, float]:
    """Protected photos, and the median seconds of up to 16 photos that are protected one by one."""
    times = []
    for i in [0, *range(min(16, len(image)))]:
        start = time.perf_counter()
        protector(image[i : i + 1], epsilon).sum().item()  # `item` waits for an accelerator
        times.append(time.perf_counter() - start)
    return torch.cat([protector(image[i : i + batch], epsilon) for i in range(0, len(image), batch)]), statistics.median(times[1:])


def optimise_photos(
    options: argparse.Namespace, surrogate: Surrogate, image: Tensor, prompts: list[str]
) -> tuple[dict[int, Tensor], float]:
    """Photos by PGD after each of `--pgd-steps`, and the seconds of one step of one photo, within a batch."""
    batches: dict[int, list[Tensor]] = {steps: [] for steps in options.pgd_steps}
    attack = attack_on(options.attack, surrogate, surrogate.taps, options.faces, options.centred, options.keep)
    start = time.perf_counter()
    for first in range(0, len(image), options.batch):
        photo, text = image[first : first + options.batch], surrogate.encode_text(prompts[first : first + options.batch])
        random = torch.Generator().manual_seed(options.pgd_seed * 1_000_003 + first)
        results = optimise(
            attack.surrogate, photo, text, attack.objective, options.epsilon, max(batches), random,
            Settings(min_sigma=options.min_sigma), keep=sorted(batches), label=f"PGD, people from {first}",
        )  # fmt: skip
        for steps, parts in batches.items():
            parts.append(results[steps])
    seconds = (time.perf_counter() - start) / max(batches) / len(image)
    return {steps: torch.cat(parts) for steps, parts in batches.items()}, seconds


def make_photos(options: argparse.Namespace, surrogate: Surrogate) -> Photos:
    """All versions of the photos of the first `--people` of the test split."""
    portraits = PortraitClips("test", 1, options.photo_size, options.photo_size).batch(range(options.people))
    image = as_saved(portraits.video[:, 0]).to(options.device)
    protector = Protector.from_pretrained(options.generator, backend="torch").to(options.device)
    random = torch.Generator().manual_seed(options.pgd_seed)
    protected, seconds = one_pass(protector, image, options.epsilon, options.batch)
    check_finite("one pass", photos=protected)
    rms = rms255(as_saved(protected) - image)
    versions = {
        "clean": image,
        "white_noise": white_noise(image, rms, options.epsilon, random),
        "random_parameters": random_residual(protector, image, rms, options.epsilon, random),
        "one_pass": protected,
    }
    results, step = optimise_photos(options, surrogate, image, portraits.prompts)
    versions |= {f"pgd_{steps}": photo for steps, photo in sorted(results.items())}
    times = {"one_pass": seconds, **{f"pgd_{steps}": steps * step for steps in results}}
    return Photos(portraits.prompts, {name: as_saved(photo) for name, photo in versions.items()}, times)


def judge_surrogate(options: argparse.Namespace, model: ClipModel, photos: Photos, label: str) -> tuple[Measures, dict[str, Tensor]]:
    """Measures averaged over the seeds for each person, and the first seed's clips, uint8 (people, T, 3, h, w)."""
    films: dict[str, list[Tensor]] = {name: [] for name in photos.versions}
    by_seed: list[list[Measures]] = [[] for _ in options.seeds]
    people = torch.arange(options.people, device=options.device)
    with tqdm(total=len(options.seeds) * options.people, desc=f"clips of {label}", unit="person", mininterval=5.0) as progress:
        for parts, seed in zip(by_seed, options.seeds, strict=True):
            for first in range(0, options.people, options.batch):
                who = people[first : first + options.batch]
                versions = {name: photo[who] for name, photo in photos.versions.items()}
                prompts = photos.prompts[first : first + options.batch]
                trial = animate_versions(model.surrogate, versions, prompts, seed * 1_000_003 + first, model.judges, draws=2)
                more = identity_measures(trial.readings, model.references, who)
                parts.append({name: {**old, **more[name]} for name, old in trial.measures.items()})
                if parts is by_seed[0]:
                    for name, clip in trial.clips.items():
                        films[name].append((255 * clip).round().byte().cpu())
                progress.update(len(who))
    means: Measures = {}
    for name in films:
        values = {m: torch.stack([torch.cat([part[name][m] for part in parts]) for parts in by_seed]) for m in by_seed[0][0][name]}
        means[name] = {measure: value.float().mean(0).cpu() for measure, value in values.items()}
    return means, {name: torch.cat(parts) for name, parts in films.items()}


def draw(measures: Measures, films: dict[str, Tensor], headings: dict[str, str], folder: Path) -> None:
    """Write `evidence.gif` and `evidence.jpg`: clips of people by one pass's identity shift, one version a column."""
    clean, one = measures["clean"], measures["one_pass"]
    shifts = identity_shift(clean["identity_similarity"], one["identity_similarity"], one["strangers_similarity"])
    people = examples(shifts)
    if not people:
        tqdm.write("no pictures: the judge finds no person in the clip of the clean photo")
        return
    names, rows = [words for _, words in people], [[films[version][i].float() / 255 for version in headings] for i, _ in people]
    save_gif(rows, names, list(headings.values()), folder / "evidence.gif")
    save_frames(rows, names, list(headings.values()), folder / "evidence.jpg")


def size(text: str) -> str:
    """Check a size of the command line."""
    if not re.fullmatch(r"[1-9]\d*x[1-9]\d*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no size; give HEIGHTxWIDTH, e.g. 128x128")
    return text


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--surrogates", nargs="+", default=["portrait-dit"], help="PGD attacks the first; all are animated")
    parser.add_argument("--taps", nargs="+", help="for each surrogate its taps, with commas between them: feature damage, attack taps")
    parser.add_argument("--sizes", nargs="+", type=size, metavar="HEIGHTxWIDTH", help="of each surrogate's clips, or one for all")
    parser.add_argument("--frames", nargs="+", type=int, help="of each surrogate's clips, or one for all")
    parser.add_argument("--generator", default="portrait-generator")
    parser.add_argument("--judge", default=Path("portrait-judge"), type=Path)
    parser.add_argument("--actions", default=Path("portrait-actions"), type=Path)
    parser.add_argument("--people", type=int, default=64)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the clips' noise")
    parser.add_argument("--epsilon", type=float, default=8.0)
    parser.add_argument("--pgd-steps", type=int, nargs="+", default=[20, 100])
    parser.add_argument("--pgd-seed", type=int, default=0)
    parser.add_argument("--attack", choices=PARTS, default="identity", help="what of the first surrogate PGD attacks")
    parser.add_argument("--faces", nargs="+", default=OBJECTIVE_EMBEDDERS, help="identity embedders that `identity` attacks")
    parser.add_argument("--keep", type=float, default=1.0, help="weight of the identity similarity of the photo itself in `identity`")
    parser.add_argument("--centred", action="store_true", help="the other attacks do not count a tint")
    parser.add_argument("--min-sigma", type=float, default=0.75)
    parser.add_argument("--photo-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=20, help="denoising steps")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("docs/evidence"))
    options = parser.parse_args(arguments)
    for i, name in enumerate(("taps", "sizes", "frames")):
        values = getattr(options, name)
        if values is None:
            values = [DEFAULTS.get(surrogate, ("", "128x128", 9))[i] for surrogate in options.surrogates]
        if len(values) == 1 and name != "taps":
            values *= len(options.surrogates)
        if len(values) != len(options.surrogates) or "" in values:
            count = sum(value != "" for value in values)
            parser.error(
                f"{len(options.surrogates)} surrogates but {name} for {count}; give each its own, such as blocks.3,blocks.5 for taps"
            )
        setattr(options, name, values)
    return options


def write(
    options: argparse.Namespace, models: dict[str, ClipModel], photos: Photos, measures: dict[str, Measures], words: dict[str, str]
) -> None:
    """Write `evidence.json` and `evidence.md`, and print the latter."""
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items() if name != "out"}
    facts = {"commit": commit() or "unknown", **settings, "threads": torch.get_num_threads()}
    about = {name: models[name].facts for name in measures}
    summaries = {name: summarise([of]) for name, of in measures.items()}
    longest = list(photos.versions)[-1]
    shares = {
        name: interval(ratio_interval(m["one_pass"]["similarity_drop"], m[longest]["similarity_drop"])) for name, m in measures.items()
    }
    lines = [
        "# Evidence",
        "",
        f"One pass takes from the clips this share of the identity similarity that {words[longest]} takes (95 % interval):",
        "",
    ]
    for name, share in shares.items():
        lines.append(f"* {name}, {about[name]['generator']} for the generator, {about[name]['pgd']} for PGD: {cell(share)}")
    lines += ["", "| method | seconds a photo |", "| --- | ---: |"]
    lines += [f"| {words[name]} | {seconds:.3f} |" for name, seconds in photos.seconds.items()]
    lines += ["", *[f"* {name}: {value}" for name, value in facts.items()]]
    for name, summary in summaries.items():
        lines += ["", f"## {name}", "", markdown(summary, about[name], NOTES, words)]
    people = {n: {v: {k: [round(x, 4) for x in m[k].tolist()] for k in BY_PERSON} for v, m in ms.items()} for n, ms in measures.items()}
    data = {"facts": facts, "surrogates": about, "notes": NOTES, "seconds": photos.seconds}
    data |= {"share": shares, "results": summaries, "people": people}
    write_texts(options.out, {"evidence.json": json.dumps(data, indent=1, ensure_ascii=False) + "\n", "evidence.md": "\n".join(lines)})
    print("\n".join(lines))


def main(arguments: list[str] | None = None) -> None:
    """Protect, animate, judge; write `evidence.json`, `.md`, `.gif` and `.png`."""
    options = parse(arguments)
    models = load(options)
    first = options.surrogates[0]
    photos = make_photos(options, models[first].surrogate)
    words = {name: VERSIONS.get(name, name.upper().replace("_", "-")) for name in photos.versions}
    measures: dict[str, Measures] = {}
    for name, model in models.items():
        measures[name], films = judge_surrogate(options, model, photos, name)
        write(options, models, photos, measures, words)  # after each, so that a long run leaves what it has
        if name == first:
            versions = ("clean", "white_noise", "one_pass", list(photos.versions)[-1])
            draw(measures[name], films, {version: words[version].split(",")[0] for version in versions}, options.out)


if __name__ == "__main__":
    main()
