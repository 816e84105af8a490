"""The ablation of Anti-I2V (arXiv 2603.24570): what each of its parts adds, photo by photo and in one pass.

    python -m benchmarks.ablation --keep runs/ablation --out docs/ablation

Each variant has one thing more than the one before (`attacks.anti_i2v.VARIANTS`), and the last is the method `anti-i2v`. Kind
`per-photo` optimises each photo, kind `generator` trains the default run's generator on the same objective, in the same space and at the
same noise levels, and protects in one pass. All have the same true epsilon, are written as 8-bit files, read again and animated from the
same noise. The whole takes hours on one core: `--keep` stores the photos, so that an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from anti_i2v.attacks.anti_i2v import VARIANTS, anti_i2v
from anti_i2v.errors import UsageError
from anti_i2v.evaluation.noise import white_noise
from anti_i2v.evaluation.report import DRAWS, Interval, cell, interval, markdown, summarise, write_texts
from anti_i2v.evaluation.runner import as_saved
from anti_i2v.imaging.metrics import mean_interval, rms255
from anti_i2v.portraits import PortraitClips
from anti_i2v.resources import commit
from benchmarks import stored_photos
from benchmarks.evidence import ClipModel, Measures, Photos, judge_surrogate, load
from benchmarks.short_runs import add_clip_options, in_one_pass, one_by_one, train_generator

DEPENDS = ("surrogate", "size", "num_frames", "photo_size", "people", "epsilon", "steps", "seed")
"""Options that decide what every version is."""

KINDS = {"per-photo": ("attack_steps", "batch"), "generator": ("train_steps", "train_batch", "lr")}
"""How photos are protected → the options that decide about this kind alone."""

NOTES = (
    "every figure is averaged over the seeds for each person first; intervals are over people",
    "seconds: per photo, wall time of all steps of a batch by photos; of a generator its whole training, once for all photos",
    "a generator's fields are of 32 × 32 values or coefficients; photo by photo all pixels and the lower quarter of the frequencies move",
)


def make_versions(options: argparse.Namespace, model: ClipModel, photos: Photos) -> dict[str, stored_photos.StoredPhotos]:
    """Photos of every kind and variant; those that are stored, and have the settings, are not made again."""
    versions = {f"{kind}_{variant}": (kind, variant) for kind in options.kinds for variant in options.variants}
    settings = {
        name: {"kind": kind, "variant": variant, **{option: getattr(options, option) for option in (*DEPENDS, *KINDS[kind])}}
        for name, (kind, variant) in versions.items()
    }
    files = {} if options.keep is None else {name: options.keep / f"{name}.safetensors" for name in versions}
    # All are read before the first is made, so that other settings are refused at once and not after hours.
    versions_made = {name: version for name, file in files.items() if (version := stored_photos.read(file, settings[name])) is not None}
    for name, (kind, variant) in versions.items():
        if name in versions_made:
            continue
        method = anti_i2v(model.surrogate, variant=variant)
        if kind == "per-photo":
            results, step = one_by_one(options, model.surrogate, method, photos, name, [options.attack_steps])
            protected, seconds = results[options.attack_steps], options.attack_steps * step
        else:
            protector, seconds = train_generator(options, method, options.seed)
            protected = in_one_pass(protector, photos.versions["clean"], options.epsilon, options.batch)
        versions_made[name] = stored_photos.StoredPhotos(protected, seconds, commit() or "unknown")
        if name in files:
            stored_photos.write(files[name], settings[name], versions_made[name])
        print(f"{name}: {seconds:.1f} s", flush=True)
    return {name: versions_made[name] for name in versions}


def shift_difference(after: Mapping[str, Tensor], before: Mapping[str, Tensor], seed: int = 0) -> tuple[float, float, float]:
    """Identity shift of one version less that of another on the same people, and the 95 % interval, by the bootstrap over people.

    Args:
        after: `identity_similarity`, `strangers_similarity` and `similarity_drop`, (N,) each.
        before: Likewise, of the same people.
        seed: Of the resampling.

    Returns:
        Difference of the two shifts (`report.summarise`), lower and upper end; NaN where a shift has no
        meaning, the ends also for one person.
    """
    lost = torch.stack([version["similarity_drop"].double() for version in (after, before)])
    whole = lost + torch.stack([(version["identity_similarity"] - version["strangers_similarity"]).double() for version in (after, before)])
    if not bool((whole.mean(1) > 0).all()):
        return math.nan, math.nan, math.nan
    shifts, count = lost.mean(1) / whole.mean(1), lost.shape[1]
    if count < 2:
        return float(shifts[0] - shifts[1]), math.nan, math.nan
    people = torch.randint(count, (DRAWS, count), generator=torch.Generator().manual_seed(seed))
    ratios = lost[:, people].mean(2) / whole[:, people].mean(2)
    low, high = (ratios[0] - ratios[1]).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return float(shifts[0] - shifts[1]), low, high


def gains(options: argparse.Namespace, measures: Measures) -> dict[str, dict[str, Interval]]:
    """For each kind what a variant takes more than the one before, from the same people."""
    result: dict[str, dict[str, Interval]] = {}
    for kind in options.kinds:
        for before, variant in itertools.pairwise(options.variants):
            new, old = measures[f"{kind}_{variant}"], measures[f"{kind}_{before}"]
            drop = mean_interval(new["similarity_drop"] - old["similarity_drop"])
            more = {"identity_shift": interval(shift_difference(new, old)), "similarity_drop": interval(drop)}
            result[f"{kind}_{variant} - {kind}_{before}"] = more
    return result


def write(
    options: argparse.Namespace, model: ClipModel, photos: Photos, versions: dict[str, stored_photos.StoredPhotos], measures: Measures
) -> None:
    """Write `ablation.json` and `ablation.md`, and print the latter."""
    settings = {name: value for name, value in vars(options).items() if name not in ("keep", "out")}
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in settings.items()}
    last = f"{options.kinds[0]}_{options.variants[-1]}"
    facts = {"commit": commit() or "unknown", **settings, "noise": last, "threads": torch.get_num_threads()}
    about = {name: value for name, value in model.facts.items() if name not in ("generator", "pgd")}  # the shipped one has no part here
    summary, more = summarise([measures]), gains(options, measures)
    data = {"facts": facts, "about": about, "notes": NOTES, "seconds": photos.seconds}
    data |= {"commits": {name: version.commit for name, version in versions.items()}, "gains": more, "results": summary}
    words = {name: name.replace("_", " ") for name in measures}
    lines = ["# Ablation", "", *[f"* {name}: {value}" for name, value in facts.items()]]
    lines += ["", "| version | seconds |", "| --- | ---: |"]
    lines += [f"| {words[name]} | {seconds:.1f} |" for name, seconds in photos.seconds.items()]
    lines += ["", "| difference | identity shift | similarity drop |", "| --- | ---: | ---: |"]
    lines += [f"| {name.replace('_', ' ')} | {cell(of['identity_shift'])} | {cell(of['similarity_drop'])} |" for name, of in more.items()]
    lines += ["", markdown(summary, about, NOTES, words)]
    json_text = json.dumps(data, indent=1, ensure_ascii=False) + "\n"
    write_texts(options.out, {"ablation.json": json_text, "ablation.md": "\n".join(lines) + "\n"})
    print("\n".join(lines))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line; what `benchmarks.evidence` reads of its own is filled in."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_clip_options(parser, people=64)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--attack-steps", type=int, default=100, help="of each photo on its own")
    parser.add_argument("--train-steps", type=int, default=200)
    parser.add_argument("--train-batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=5e-3, help="of Muon")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the clips' noise")
    parser.add_argument("--seed", type=int, default=0, help="of optimisation and training")
    parser.add_argument(
        "--keep", type=Path, help="folder for the photos of each variant, to go on after an interruption; for one state of the code"
    )
    parser.add_argument("--out", type=Path, default=Path("docs/ablation"))
    options = parser.parse_args(arguments)
    # In the order of the paper, whatever the order on the command line: each is compared with the one before.
    options.variants = [variant for variant in VARIANTS if variant in options.variants]
    options.kinds = [kind for kind in KINDS if kind in options.kinds]
    options.surrogates, options.taps, options.sizes, options.frames = [options.surrogate], ["decoded"], [options.size], [options.num_frames]
    options.device, options.generator = "cpu", "portrait-generator"
    return options


def main(arguments: list[str] | None = None) -> None:
    """Protect, animate, judge, write."""
    options = parse(arguments)
    (model,) = load(options).values()
    portraits = PortraitClips("test", 1, options.photo_size, options.photo_size).batch(range(options.people))
    clean = as_saved(portraits.video[:, 0])
    try:
        versions = make_versions(options, model, Photos(portraits.prompts, {"clean": clean}, {}))
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    full = versions[f"{options.kinds[0]}_{options.variants[-1]}"].photos
    noise = white_noise(clean, rms255(full - clean), options.epsilon, torch.Generator().manual_seed(options.seed))
    pictures = {"clean": clean, "white_noise": as_saved(noise), **{name: version.photos for name, version in versions.items()}}
    photos = Photos(portraits.prompts, pictures, {name: version.seconds for name, version in versions.items()})
    measures, _ = judge_surrogate(options, model, photos, options.surrogate)
    write(options, model, photos, versions, measures)


if __name__ == "__main__":
    main()
