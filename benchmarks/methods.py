"""Every per-photo method on equal terms, beside one pass and its refinement: what it does to the clips, seconds and memory a photo.

    python -m benchmarks.methods --refine --scratch --out docs/methods
    python -m benchmarks.methods --methods --out docs/methods/refine

All are made against one surrogate (`--surrogate`), within the same true epsilon, written as 8-bit files, read again and animated from
the same noise. `--refine` are numbers of steps from the generator's output, `--scratch` the same objective from a random start; one run
of the longest passes through the shorter ones. The two commands are the table of methods and the curve of refinement; without a word
more than `--out` one run makes both. Figures are averaged over clip seeds for each person first, intervals are over people.
Memory is what tensors of one photo's step occupy at once, weights not counted (`surrogates.memory.LivePeak`).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from torch import Tensor

from anti_i2v.attacks.methods import METHODS, Method, named_method
from anti_i2v.evaluation.noise import white_noise
from anti_i2v.evaluation.report import interval, markdown, ratio_interval, summarise, write_texts
from anti_i2v.evaluation.runner import as_saved
from anti_i2v.imaging.metrics import rms255
from anti_i2v.portraits import PortraitClips
from anti_i2v.protector import Protector
from anti_i2v.resources import commit
from anti_i2v.surrogates import Surrogate
from anti_i2v.surrogates.memory.peak import LivePeak
from benchmarks.evidence import ClipModel, Measures, Photos, judge_surrogate, load, one_pass
from benchmarks.short_runs import add_clip_options, one_by_one

REFINED = "identity"
"""The method whose objective refinement goes on with: the shipped generator's own."""

NOTES = (
    "every figure is averaged over the seeds for each person first; intervals are over people",
    "noise has the RMS of one pass; methods have whatever their objective makes of the same epsilon",
    "seconds: wall time of a batch by photos; of one pass the median of single photos; `alone` is a step of a single photo",
)


def trial(method: Method, surrogate: Surrogate, image: Tensor, text: dict[str, Tensor], epsilon: float) -> int:
    """Bytes that tensors of one step on one photo occupy at once; a copy, since a part of a batch counts as all of it."""
    photo, one = image[:1].clone(), {name: value[:1].clone() for name, value in text.items()}
    weights = [*surrogate.parameters(), *surrogate.buffers(), *method.objective.parameters()]
    live = LivePeak(weights)
    with live:
        method.run(surrogate, photo, one, epsilon, torch.Generator().manual_seed(0), 1)
    return live.peak


def step_alone(method: Method, surrogate: Surrogate, image: Tensor, text: dict[str, Tensor], epsilon: float, steps: int = 5) -> float:
    """Median seconds of a step on a single photo, of three runs; what a run does once for all its steps is taken off."""
    one = {name: value[:1] for name, value in text.items()}

    def seconds(number: int) -> float:
        begin = time.perf_counter()
        method.run(surrogate, image[:1], one, epsilon, torch.Generator().manual_seed(0), number)
        return time.perf_counter() - begin

    return statistics.median((seconds(1 + steps) - seconds(1)) / steps for _ in range(3))


def optimise_photos(
    options: argparse.Namespace, model: ClipModel, photos: Photos, name: str, steps: list[int], start: Tensor | None = None
) -> tuple[dict[int, Tensor], float, dict[str, float]]:
    """A method's photos after each of `steps`; seconds of one step of one photo; bytes of one step, and its seconds for a single photo."""
    surrogate = model.surrogate
    method, image = named_method(name, surrogate), photos.versions["clean"]
    text = surrogate.encode_text(photos.prompts[:1])
    costs: dict[str, float] = {"memory": trial(method, surrogate, image, text, options.epsilon)}
    costs["alone"] = step_alone(method, surrogate, image, text, options.epsilon)
    results, seconds = one_by_one(options, surrogate, method, photos, name, steps, start)
    return results, seconds, costs


def make(options: argparse.Namespace, model: ClipModel) -> tuple[Photos, dict[str, dict[str, float]]]:
    """All versions of the first `--people` of the test split, and what they cost: bytes, and seconds of a step of a single photo."""
    portraits = PortraitClips("test", 1, options.photo_size, options.photo_size).batch(range(options.people))
    image = as_saved(portraits.video[:, 0]).to(options.device)
    protector = Protector.from_pretrained(options.generator, backend="torch").to(options.device)
    protected, seconds = one_pass(protector, image, options.epsilon, options.batch)
    protected = as_saved(protected)
    noise = white_noise(image, rms255(protected - image), options.epsilon, torch.Generator().manual_seed(options.seed))
    photos = Photos(portraits.prompts, {"clean": image, "white_noise": as_saved(noise), "one_pass": protected}, {"one_pass": seconds})
    photo = image[:1].clone()
    with LivePeak(protector.generator.parameters()) as live:
        protector(photo, options.epsilon)
    costs: dict[str, dict[str, float]] = {"memory": {"one_pass": live.peak}, "alone": {}}

    def add(prefix: str, name: str, steps: list[int], start: Tensor | None = None) -> None:
        results, step, once = optimise_photos(options, model, photos, name, steps, start)
        for number in sorted(steps):
            key = f"{prefix}_{number}"
            photos.versions[key] = results[number]
            for kind, value in once.items():
                costs[kind][key] = value
            photos.seconds[key] = number * step + (0.0 if start is None else seconds)

    for name in options.methods:
        add(name, name, [options.steps_each])
    if options.refine:
        add("refine", REFINED, options.refine, protected - image)
    if options.scratch:
        add("scratch", REFINED, options.scratch)
    return photos, costs


def write(options: argparse.Namespace, model: ClipModel, photos: Photos, costs: dict[str, dict[str, float]], measures: Measures) -> None:
    """Write `methods.json` and `methods.md`, and print the latter."""
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items() if name != "out"}
    facts = {"commit": commit() or "unknown", **settings, "threads": torch.get_num_threads()}
    summary = summarise([measures])
    # Which share of a method's drop one pass reaches: people drawn again together, so that hard ones count on both sides.
    others = [name for name in measures if name not in ("clean", "one_pass")]
    shares = {name: interval(ratio_interval(measures["one_pass"]["similarity_drop"], measures[name]["similarity_drop"])) for name in others}
    data = {"facts": facts, "about": model.facts, "notes": NOTES, "seconds": photos.seconds, **costs}
    data |= {"share_of_one_pass": shares, "results": summary}
    words = {name: name.replace("_", " ") for name in measures}
    lines = ["# Methods", "", *[f"* {name}: {value}" for name, value in facts.items()]]
    lines += ["", "| version | seconds a photo | MiB |", "| --- | ---: | ---: |"]
    lines += [f"| {words[name]} | {value:.3f} | {costs['memory'][name] / 2**20:.0f} |" for name, value in photos.seconds.items()]
    lines += ["", markdown(summary, model.facts, NOTES, words)]
    write_texts(options.out, {"methods.json": json.dumps(data, indent=1, ensure_ascii=False) + "\n", "methods.md": "\n".join(lines) + "\n"})
    print("\n".join(lines))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line; what `benchmarks.evidence` reads of its own is filled in."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_clip_options(parser, people=64)
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=list(METHODS))
    parser.add_argument("--steps-each", type=int, default=100, help="of every method")
    parser.add_argument("--refine", type=int, nargs="*", default=[0, 1, 5, 20, 100], help="steps from one pass")
    parser.add_argument("--scratch", type=int, nargs="*", default=[1, 5, 20, 100, 500], help="steps from a random start")
    parser.add_argument("--generator", default="portrait-generator")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the clips' noise")
    parser.add_argument("--seed", type=int, default=0, help="of the methods")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("docs/methods"))
    options = parser.parse_args(arguments)
    options.surrogates, options.taps, options.sizes, options.frames = [options.surrogate], ["decoded"], [options.size], [options.num_frames]
    return options


def main(arguments: list[str] | None = None) -> None:
    """Protect, animate, judge, write."""
    options = parse(arguments)
    (model,) = load(options).values()
    photos, costs = make(options, model)
    measures, _ = judge_surrogate(options, model, photos, options.surrogate)
    write(options, model, photos, costs, measures)


if __name__ == "__main__":
    main()
