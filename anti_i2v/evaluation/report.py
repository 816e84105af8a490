"""From the measures of many people to a table: mean and 95 % interval, as Markdown for people and JSON for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from anti_i2v.evaluation.clips import MEASURES, VERSIONS
from anti_i2v.evaluation.pictures import residual_picture, sheet, some_frames
from anti_i2v.images import save_photo, to_pil
from anti_i2v.metrics import mean_interval

if TYPE_CHECKING:
    from anti_i2v.evaluation.runner import Trial

COLUMNS = {"residual_rms": "residual, RMS in 1/255", "psnr": "PSNR in dB", "delta_e": "ΔE2000", **MEASURES}
"""Measure → heading; the photo's own first, then the clip's."""

Interval = dict[str, float | None]
Summary = dict[str, dict[str, Interval]]


def summarise(parts: Sequence[Mapping[str, Mapping[str, Tensor]]]) -> Summary:
    """Put the measures of several batches together.

    Args:
        parts: Version → measure → (B,), one mapping a batch.

    Returns:
        Version → measure → `mean`, `low`, `high` of the 95 % interval; None for what is not finite (the PSNR of an
        unchanged photo, the interval of one person), because JSON has no such numbers.
    """
    summary: Summary = {}
    for version in parts[0]:
        summary[version] = {}
        for measure in parts[0][version]:
            values = mean_interval(torch.cat([part[version][measure].detach().float().cpu() for part in parts]))
            named = zip(("mean", "low", "high"), values, strict=True)
            summary[version][measure] = {name: value if math.isfinite(value) else None for name, value in named}
    return summary


def markdown(summary: Summary, facts: Mapping[str, object]) -> str:
    """A table, one version a row, under the facts it depends on."""
    lines = [f"{name}: {value}" for name, value in facts.items()]
    lines += ["", "| version | " + " | ".join(COLUMNS.values()) + " |", "| --- |" + " ---: |" * len(COLUMNS)]
    for version, measures in summary.items():
        cells = " | ".join(_cell(measures[measure]) for measure in COLUMNS)
        lines.append(f"| {VERSIONS[version]} | {cells} |")
    return "\n".join([*lines, "", "Mean and 95 % interval over people; distances are from the clean photo's clip.", ""])


def _cell(value: Interval) -> str:
    mean, low, high = value["mean"], value["low"], value["high"]
    if mean is None:
        return "–"
    digits = 3 if abs(mean) < 1 else 2
    return f"{mean:.{digits}f}" if low is None or high is None else f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def trial_sheet(trial: Trial, people: int = 6, size: int = 96) -> Tensor:
    """A picture of what happened: for each person one row a version, of photo, residual ×10 and frames of its clip.

    Returns:
        (3, height, width) in [0, 1].
    """
    rows = []
    for i in range(min(people, len(trial.photos["clean"]))):
        for version, clips in trial.clips.items():
            photo, clean = trial.photos[version][i], trial.photos["clean"][i]
            rows.append([photo, residual_picture(clean, photo), *some_frames(clips[i])])
    return sheet(rows, size)


def write_results(folder: Path, summary: Summary, facts: Mapping[str, object], picture: Tensor) -> list[Path]:
    """Write `test_results.json`, `test_results.md` and `test_results.png`, each complete or not at all.

    Args:
        folder: Where to; made if need be.
        summary: From `summarise`.
        facts: What the figures depend on, plain types.
        picture: (3, H, W) in [0, 1], from `trial_sheet`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "test_results.json": json.dumps({**facts, "results": summary}, indent=2, ensure_ascii=False) + "\n",
        "test_results.md": markdown(summary, facts),
    }
    for name, text in texts.items():
        part = folder / f".{name}.part"
        part.write_text(text, encoding="utf-8")
        part.replace(folder / name)
    grid = to_pil(picture)
    save_photo(grid, folder / "test_results.png", like=grid)
    return [folder / name for name in (*texts, "test_results.png")]
