"""Attackability of a video model, part by part: per-photo PGD, and the identity judge on the clips.

    python benchmarks/attackability.py --out docs/attackability

For each epsilon, PGD runs on the first frame of each test person's clip against one part of the surrogate: the encoder's
latents, the denoiser's taps, both, the pixels of the photo that the autoencoder reconstructs, or its identity by an
identity embedder (never the judge). The photo is saved as PNG and animated from the same noise as the clean photo, and the
judge measures how much of the person is left. White noise of equal RMS is the control of each. Identity shift: 0 where the clip
is as similar to its person as the clean photo's clip, 1 where it is no more similar than to strangers. The judge on the protected photo
itself is a second control: a change there means that the residual fools the judge.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from anti_i2v import atomic
from anti_i2v.attacks import Settings, optimise
from anti_i2v.embedders import OBJECTIVE_EMBEDDERS
from anti_i2v.evaluation.evaluator import CleanBatch, Measures, PhotoEvaluator
from anti_i2v.evaluation.identity import identity_shift, load_identity_judge
from anti_i2v.evaluation.noise import white_noise
from anti_i2v.evaluation.pictures import residual_picture, save_sheet, sheet, some_frames
from anti_i2v.evaluation.runner import as_saved
from anti_i2v.imaging.metrics import mean_interval, rms255
from anti_i2v.portraits import PortraitClips
from anti_i2v.portraits.references import portrait_references
from anti_i2v.resources import commit
from anti_i2v.surrogates import Surrogate
from benchmarks.parts import PARTS, PartName, attack_on

COLUMNS = {
    "true_epsilon": "largest change",
    "rms": "residual, RMS",
    "latent_gain": "latent gain",
    "first_frame_change": "first frame change, RMSE",
    "last_frame_change": "last frame change, RMSE",
    "identity_similarity": "identity similarity",
    "strangers_similarity": "similarity to strangers",
    "identity_shift": "identity shift",
    "set_identity_shift": "identity shift of the means",
    "rank1": "rank-1 accuracy",
    "presence": "face seen",
    "photo_identity_similarity": "photo's identity similarity",
    "photo_identity_shift": "photo's identity shift",
}
"""Measure → heading; distances in 1/255, similarity as cosine. All but `set_identity_shift` are one value a person."""

Interval = dict[str, float | None]


@dataclass
class Table:
    """Rows so far, and the pictures of one epsilon."""

    facts: dict[str, object]
    rows: list[dict[str, object]] = field(default_factory=list)
    pictures: list[list[Tensor]] = field(default_factory=list)

    def add(self, epsilon: float | None, part: str, version: str, batches: list[Measures]) -> None:
        """Put the batches of a row together, keep and print it."""
        values = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
        measures = {name: _interval(values[name]) for name in COLUMNS if name in values}
        means = [values[name].mean() for name in ("clean_identity_similarity", "identity_similarity", "strangers_similarity")]
        measures["set_identity_shift"] = {"mean": _finite(float(identity_shift(*means))), "low": None, "high": None}
        people = {name: [_finite(x) for x in value.tolist()] for name, value in values.items()}
        self.rows.append({"epsilon": epsilon, "part": part, "version": version, "measures": measures, "people": people})
        tqdm.write(_line(self.rows[-1]))

    def markdown(self) -> str:
        """The facts and the table."""
        lines = ["# Attackability", "", *[f"* {name}: {value}" for name, value in self.facts.items()], ""]
        lines += ["| epsilon | part | version | " + " | ".join(COLUMNS.values()) + " |", "| ---: | --- | --- |" + " ---: |" * len(COLUMNS)]
        return "\n".join([*lines, *[_line(row) for row in self.rows], ""])

    def write(self, folder: Path) -> None:
        """Each file complete or not at all; called after every row, so that an interrupted run leaves what it measured."""
        folder.mkdir(parents=True, exist_ok=True)
        data = json.dumps({"facts": self.facts, "columns": COLUMNS, "rows": self.rows}, indent=1, ensure_ascii=False)
        for name, text in (("attackability.json", data + "\n"), ("attackability.md", self.markdown())):
            with atomic.write(folder / name) as part:
                part.write_text(text, encoding="utf-8")
        if self.pictures:
            size = max(picture.shape[-1] for row in self.pictures for picture in row)
            save_sheet(sheet(self.pictures, size), folder / "attackability.jpg")


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None  # JSON has no NaN


def _interval(values: Tensor) -> Interval:
    finite = values[values.isfinite()]  # no identity shift is known of people whom the judge does not find in their clean clip
    mean, low, high = mean_interval(finite) if len(finite) else (math.nan, math.nan, math.nan)
    return {"mean": _finite(mean), "low": _finite(low), "high": _finite(high), "n": len(finite)}


def _line(row: dict[str, object]) -> str:
    measures = row["measures"]
    assert isinstance(measures, dict)
    cells = ["–" if row["epsilon"] is None else f"{row['epsilon']:g}", str(row["part"]), str(row["version"])]
    for name in COLUMNS:
        mean, low, high = (measures[name][key] for key in ("mean", "low", "high"))
        cells.append("–" if mean is None else f"{mean:.2f}" if low is None else f"{mean:.2f} [{low:.2f}, {high:.2f}]")
    return "| " + " | ".join(cells) + " |"


def attack(
    evaluator: PhotoEvaluator, batches: list[CleanBatch], epsilon: float, part: PartName, table: Table, options: argparse.Namespace
) -> None:
    """The two rows of an epsilon and a part: PGD, and white noise of equal RMS."""
    versions: dict[str, list[Measures]] = {"PGD": [], "white noise, equal RMS": []}
    in_sheet, step = epsilon == options.sheet_epsilon, 1.0 if options.step_size is None else options.step_size / epsilon
    for batch in batches:
        target = attack_on(part, evaluator.surrogate, options.taps, options.faces, options.centred, options.keep)
        random = torch.Generator().manual_seed(options.seed + batch.first)
        label = f"epsilon {epsilon:g}, {part}, people from {batch.first}"
        results = optimise(
            target.surrogate, batch.photo, batch.text, target.objective, epsilon, options.steps, random,
            Settings(min_sigma=options.min_sigma, step=step), label=label,
        )  # fmt: skip
        protected = as_saved(results[options.steps])
        noisy = as_saved(white_noise(batch.photo, rms255(protected - batch.photo), epsilon, random))
        clips = {}
        for name, photo in zip(versions, (protected, noisy), strict=True):
            clips[name] = evaluator.animate(photo, batch.text, batch.first)
            versions[name].append(evaluator.measure(batch, photo, clips[name]))
        for i in range(min(options.sheet_people, len(protected)) if in_sheet and batch is batches[0] else 0):
            films = [batch.clips[0][i], *[clip[0][i] for clip in clips.values()]]
            frames = [frame for film in films for frame in some_frames(film, 3)]
            table.pictures.append([batch.photo[i], protected[i], residual_picture(batch.photo[i], protected[i]), *frames])
    for name, measured in versions.items():
        table.add(epsilon, part, name, measured)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--surrogate", default="portrait-dit")
    parser.add_argument("--judge", default="portrait-judge")
    parser.add_argument("--out", type=Path, default=Path("docs/attackability"))
    parser.add_argument("--people", type=int, default=16)
    parser.add_argument("--gallery", type=int, default=64, help="people whom the judge chooses from")
    parser.add_argument("--steps", type=int, default=200, help="of PGD")
    parser.add_argument("--epsilons", type=float, nargs="+", default=[2.0, 4.0, 8.0, 16.0])
    parser.add_argument("--parts", choices=PARTS, nargs="+", default=list(PARTS))
    parser.add_argument("--taps", nargs="+", default=["blocks.3", "blocks.5"])
    parser.add_argument("--faces", nargs="+", default=OBJECTIVE_EMBEDDERS, help="identity embedders that `identity` attacks")
    parser.add_argument("--keep", type=float, default=1.0, help="weight of the identity similarity of the photo itself in `identity`")
    parser.add_argument("--centred", action="store_true", help="attack with an objective that does not count a tint")
    parser.add_argument("--min-sigma", type=float, default=0.75)
    parser.add_argument("--step-size", type=float, help="first step of PGD in 1/255; epsilon by default")
    parser.add_argument("--size", type=int, nargs=2, default=[128, 128], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--frames", type=int, default=9)
    parser.add_argument("--denoising-steps", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of PGD's starts and draws, and of the noise beside it")
    parser.add_argument("--clip-seeds", type=int, nargs="+", default=[0], help="averaged over for each person")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--sheet-people", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args(arguments)
    options.sheet_epsilon = 8.0 if 8.0 in options.epsilons else max(options.epsilons)
    return options


def prepare(options: argparse.Namespace) -> tuple[PhotoEvaluator, list[CleanBatch]]:
    """Load the models, render the people, animate the clean photos."""
    height, width = options.size
    surrogate = Surrogate.from_pretrained(options.surrogate, options.taps, height, width, options.frames, options.denoising_steps)
    judge = load_identity_judge(options.judge)
    references = portrait_references(judge, "test", range(max(options.people, options.gallery)), height, width)
    people = [range(i, min(i + options.batch, options.people)) for i in range(0, options.people, options.batch)]
    portraits = [PortraitClips("test", 1, height, width).batch(rows) for rows in people]
    for clips in portraits:
        surrogate.encode_text(clips.prompts)  # before the move: the text encoder stays where it is
    evaluator = PhotoEvaluator(surrogate.to(options.device), judge.to(options.device), references, options.clip_seeds)
    batches = []
    for rows, clips in zip(people, portraits, strict=True):
        photo, text = as_saved(clips.video[:, 0]).to(options.device), surrogate.encode_text(clips.prompts)
        batches.append(CleanBatch(photo, text, torch.tensor(rows, device=options.device), evaluator.animate(photo, text, rows[0])))
    return evaluator, batches


def main(arguments: list[str] | None = None) -> None:
    """Measure; write the table, the figures and the pictures after every pair of rows."""
    options = parse(arguments)
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items() if name != "out"}
    table = Table({"commit": commit() or "unknown", **settings, "interval": "95 % over people, Student t"})
    evaluator, batches = prepare(options)
    table.add(None, "none", "clean photo", [evaluator.measure(batch, batch.photo, batch.clips) for batch in batches])
    others = [evaluator.animate(batch.photo, batch.text, batch.first + 1_000_003) for batch in batches]
    versions = zip(batches, others, strict=True)
    table.add(None, "none", "clean photo, other seed", [evaluator.measure(batch, batch.photo, clips) for batch, clips in versions])
    for epsilon in options.epsilons:
        for part in options.parts:
            attack(evaluator, batches, epsilon, part, table, options)
            table.write(options.out)


if __name__ == "__main__":
    main()
