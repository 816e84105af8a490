"""From the measures of many people to a table: mean and 95 % interval, as Markdown for people and JSON for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from anti_i2v import atomic
from anti_i2v.evaluation.clips import MEASURES, VERSIONS
from anti_i2v.evaluation.judging import IDENTITY
from anti_i2v.evaluation.pictures import residual_picture, sheet, some_frames
from anti_i2v.imaging.metrics import mean_interval
from anti_i2v.imaging.tensors import to_pil
from anti_i2v.imaging.writing import save_photo

if TYPE_CHECKING:
    from anti_i2v.evaluation.runner import Trial

COLUMNS = {"residual_rms": "residual, RMS in 1/255", "psnr": "PSNR in dB", "delta_e": "ΔE2000", **MEASURES, **IDENTITY}
"""Measure → heading."""

WHO = ("identity_similarity", "strangers_similarity", "similarity_drop", "identity_shift")

TABLES = (
    ("The photo, and how far its clip is from the clean photo's", [*list(COLUMNS)[:3], *list(MEASURES)[:5]]),
    ("What the clip shows", [*list(MEASURES)[5:], "action", "consistency", "face"]),
    (
        "Who is in the clip, and in the photo itself",
        [*WHO, "rank1", *(f"photo_{name}" for name in WHO if name != "strangers_similarity")],
    ),
)
"""Title of each table, its measures; those that were not measured are left out."""

DRAWS = 2000
"""Bootstrap samples of an interval."""

Interval = dict[str, float | None]
Summary = dict[str, dict[str, Interval]]


def summarise(parts: Sequence[Mapping[str, Mapping[str, Tensor]]]) -> Summary:
    """Put the measures of several batches together.

    Args:
        parts: Version → measure → (B,), one mapping a batch.

    Returns:
        Version → measure → `mean`, `low`, `high` of the 95 % interval; None for what is not finite (the PSNR of an
        unchanged photo, the interval of one person), because JSON has no such numbers. Where identity was judged, the identity
        shifts of all people together are added.
    """
    summary: Summary = {}
    for version in parts[0]:
        values = {name: torch.cat([part[version][name].detach().float().cpu() for part in parts]) for name in parts[0][version]}
        summary[version] = {name: interval(mean_interval(value)) for name, value in values.items()}
        for prefix in ("", "photo_"):
            if f"{prefix}identity_similarity" in values:
                lost = values[f"{prefix}similarity_drop"]
                whole = lost + values[f"{prefix}identity_similarity"] - values[f"{prefix}strangers_similarity"]
                summary[version][f"{prefix}identity_shift"] = interval(ratio_interval(lost, whole))
    return summary


def interval(values: tuple[float, float, float]) -> Interval:
    """Mean and ends of an interval by name; None for what is not finite."""
    pairs = zip(("mean", "low", "high"), values, strict=True)
    return {name: value if math.isfinite(value) else None for name, value in pairs}


def ratio_interval(numerator: Tensor, denominator: Tensor, seed: int = 0) -> tuple[float, float, float]:
    """Ratio of two means and its 95 % interval, by the percentile bootstrap over people.

    The ratio of the means, not the mean of ratios: a person whose denominator happens to be small must not decide it.

    Args:
        numerator: (N,).
        denominator: (N,), of the same people.
        seed: Of the resampling.

    Returns:
        Ratio, lower and upper end; NaN where the mean of the denominator is not positive, the ends also for one person.
    """
    above, below = numerator.detach().double().cpu(), denominator.detach().double().cpu()
    if not float(below.mean()) > 0:
        return math.nan, math.nan, math.nan
    ratio = float(above.mean() / below.mean())
    if len(above) < 2:
        return ratio, math.nan, math.nan
    rows = torch.randint(len(above), (DRAWS, len(above)), generator=torch.Generator().manual_seed(seed))
    ratios = above[rows].mean(1) / below[rows].mean(1)
    low, high = ratios.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return ratio, low, high


def markdown(summary: Summary, facts: Mapping[str, object], notes: Sequence[str] = (), versions: Mapping[str, str] = VERSIONS) -> str:
    """Tables, one version a row, under the facts they depend on.

    Args:
        summary: From `summarise`.
        facts: What the figures depend on.
        notes: Sentences that a reader needs.
        versions: Name of a version → how the tables call it.
    """
    lines = [f"* {name}: {value}" for name, value in facts.items()]
    for title, measures in TABLES:
        columns = [name for name in measures if any(name in row for row in summary.values())]
        if not columns:
            continue
        lines += ["", f"**{title}**", "", "| version | " + " | ".join(COLUMNS[name] for name in columns) + " |"]
        lines.append("| --- |" + " ---: |" * len(columns))
        for version, row in summary.items():
            lines.append(f"| {versions[version]} | " + " | ".join(cell(row.get(name)) for name in columns) + " |")
    closing = "Mean and 95 % interval over people; distances are from the clean photo's clip."
    return "\n".join([*lines, "", closing, *[f"{note[0].upper()}{note[1:]}." for note in notes], ""])


def cell(value: Interval | None) -> str:
    """A figure with its interval, or a dash."""
    if value is None or value["mean"] is None:
        return "–"
    mean, low, high = value["mean"], value["low"], value["high"]
    digits = 3 if abs(mean) < 1 else 2
    return f"{mean:.{digits}f}" if low is None or high is None else f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def trial_sheet(trial: Trial, people: int = 6, size: int = 96) -> Tensor:
    """A picture of a trial: for each person one row a version, of photo, residual ×10 and frames of its clip.

    Returns:
        (3, height, width) in [0, 1].
    """
    rows = []
    for i in range(min(people, len(trial.photos["clean"]))):
        for version, clips in trial.clips.items():
            photo, clean = trial.photos[version][i], trial.photos["clean"][i]
            rows.append([photo, residual_picture(clean, photo), *some_frames(clips[i])])
    return sheet(rows, size)


def write_results(folder: Path, summary: Summary, facts: Mapping[str, object], picture: Tensor, notes: Sequence[str] = ()) -> list[Path]:
    """Write `test_results.json`, `test_results.md` and `test_results.png`, each complete or not at all.

    Args:
        folder: Where to; made if need be.
        summary: From `summarise`.
        facts: What the figures depend on, plain types.
        picture: (3, H, W) in [0, 1], from `trial_sheet`.
        notes: Sentences that a reader needs.
    """
    texts = {
        "test_results.json": json.dumps({**facts, "notes": list(notes), "results": summary}, indent=2, ensure_ascii=False) + "\n",
        "test_results.md": markdown(summary, facts, notes),
    }
    write_texts(folder, texts)
    grid = to_pil(picture)
    save_photo(grid, folder / "test_results.png", like=grid)
    return [folder / name for name in (*texts, "test_results.png")]


def write_texts(folder: Path, texts: Mapping[str, str]) -> None:
    """Write files by name, each complete or not at all; the folder is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        with atomic.write(folder / name) as part:
            part.write_text(text, encoding="utf-8")
