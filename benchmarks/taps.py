"""The choice of layers: short trainings against the identified, as many random and the shallowest layers, for several seeds.

    python -m benchmarks.taps --taps-file docs/layers/portrait-dit/taps.yaml --out docs/layers

All runs are alike but for the taps: the default run's generator with its first weights, photos, steps and objective (`FeatureObjective`,
without tint, every latent frame alike). Random taps are drawn anew for each seed, from the layers that are neither first nor identified.
Then photos of test people are protected in one pass, written as 8-bit files, read again and animated from the noise of the seed.
Intervals are over people; the differences are of the same person and seed.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from anti_i2v.attacks import Method, Settings
from anti_i2v.evaluation.report import interval, write_texts
from anti_i2v.evaluation.runner import as_saved
from anti_i2v.imaging.metrics import mean_interval
from anti_i2v.objectives import FeatureObjective
from anti_i2v.portraits import PortraitClips
from anti_i2v.probing.choice import Choice, read_choice
from anti_i2v.resources import commit
from benchmarks.evidence import Measures, Photos, judge_surrogate, load
from benchmarks.short_runs import add_clip_options, in_one_pass, train_generator

MEASURES = ("similarity_drop", "clip_change", "last_frame_change", "photo_similarity_drop")
"""Similarity drop of the clip, change of the clip and of its last frame as RMSE in 1/255, similarity drop of the photo."""


def choices(choice: Choice, seed: int) -> dict[str, list[str]]:
    """Identified, random and shallowest layers, as many of each, in the order of computation."""
    layers, count = list(choice.scores), len(choice.deep)
    others = [layer for layer in layers[1:] if layer not in choice.deep]
    numbers = torch.randperm(len(others), generator=torch.Generator().manual_seed(seed))[:count].sort().values
    return {"identified": choice.deep, "random": [others[i] for i in numbers], "shallowest": layers[:count]}


def against(taps: list[str]) -> Method:
    """The method that a training against some layers follows."""
    return Method(FeatureObjective(centred=True, balance=True), tuple(taps), 0, Settings(space="dual"))


def compare_choices(options: argparse.Namespace, choice: Choice) -> tuple[list[Measures], list[dict[str, list[str]]]]:
    """For each seed what the clips of each choice are, and the choices."""
    (model,) = load(options).values()
    portraits = PortraitClips("test", 1, options.photo_size, options.photo_size).batch(range(options.people))
    image = as_saved(portraits.video[:, 0])
    results, layers, all_seeds = [], [], options.seeds
    for seed in all_seeds:
        layers.append(choices(choice, seed))
        versions = {"clean": image}
        for name, taps in layers[-1].items():
            protector, _ = train_generator(options, against(taps), seed)
            versions[name] = in_one_pass(protector, image, options.epsilon, options.batch)
        options.seeds = [seed]
        measures, _ = judge_surrogate(options, model, Photos(portraits.prompts, versions, {}), f"seed {seed}")
        results.append({name: measures[name] for name in versions})
        drops = {name: measures[name]["similarity_drop"].mean() for name in layers[-1]}
        print(f"seed {seed}: " + ", ".join(f"{name} {layers[-1][name]} drop {drop:.3f}" for name, drop in drops.items()), flush=True)
    options.seeds = all_seeds
    return results, layers


def summary(results: list[Measures], measure: str) -> dict[str, object]:
    """Means over people of what is averaged over seeds, and the paired differences from the identified layers."""
    values = {name: torch.stack([seed[name][measure].float() for seed in results]) for name in results[0]}
    result: dict[str, object] = {name: interval(mean_interval(value.mean(0))) for name, value in values.items()}
    for name in ("random", "shallowest"):
        result[f"identified - {name}"] = interval(mean_interval((values["identified"] - values[name]).mean(0)))
        result[f"identified - {name}, by seed"] = [round(x, 4) for x in (values["identified"] - values[name]).mean(1).tolist()]
    return result


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line; what `benchmarks.evidence` reads of its own is filled in."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_clip_options(parser, people=32)
    parser.add_argument("--taps-file", type=Path, required=True, help="what `anti-i2v layers` wrote")
    parser.add_argument("--train-steps", type=int, default=200)
    parser.add_argument("--train-batch", type=int, default=8)
    parser.add_argument("--lr", type=float, default=5e-3, help="of Muon")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of training, random taps and the clips' noise")
    parser.add_argument("--out", type=Path, default=Path("docs/layers"))
    options = parser.parse_args(arguments)
    options.surrogates, options.taps, options.sizes, options.frames = [options.surrogate], ["decoded"], [options.size], [options.num_frames]
    options.device, options.generator = "cpu", "portrait-generator"
    return options


def main(arguments: list[str] | None = None) -> None:
    """Train, animate, judge, write `taps.json`, print it."""
    options = parse(arguments)
    results, layers = compare_choices(options, read_choice(options.taps_file, options.surrogate))
    settings = {name: value for name, value in vars(options).items() if name not in ("out", "taps_file")}
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in settings.items()}
    data = {"facts": {"commit": commit() or "unknown", **settings}, "taps": layers, "results": {m: summary(results, m) for m in MEASURES}}
    text = json.dumps(data, indent=1) + "\n"
    write_texts(options.out, {"taps.json": text})
    print(text)


if __name__ == "__main__":
    main()
