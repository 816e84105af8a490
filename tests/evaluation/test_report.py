"""Tables of measures."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from anti_i2v.evaluation.clips import VERSIONS
from anti_i2v.evaluation.report import COLUMNS, markdown, ratio_interval, summarise, write_results


def part(values: list[float]) -> dict[str, dict[str, torch.Tensor]]:
    names = [measure for measure in COLUMNS if not measure.endswith("identity_shift")] + ["photo_strangers_similarity"]
    return {version: {measure: torch.tensor(values) for measure in names} for version in VERSIONS}


def test_batches_are_put_together_by_person() -> None:
    summary = summarise([part([1.0, 2.0]), part([3.0])])
    interval = summary["protected"]["first_frame_change"]
    # Student's t for 2 degrees of freedom is 4.3027, the standard error is 1/√3
    assert interval["mean"] == pytest.approx(2.0)
    assert interval["low"] == pytest.approx(2 - 4.3027 / 3**0.5, abs=1e-3)
    assert interval["high"] == pytest.approx(2 + 4.3027 / 3**0.5, abs=1e-3)


def test_infinite_psnr_is_left_out_of_json_and_shown_as_a_dash(tmp_path: Path) -> None:
    summary = summarise([part([float("inf"), float("inf")])])
    assert summary["protected"]["psnr"] == {"mean": None, "low": None, "high": None}
    text = markdown(summary, {"people": 2})
    assert "people: 2" in text
    assert "| protected | – |" in text


def test_results_are_written_completely(tmp_path: Path) -> None:
    summary = summarise([part([1.0, 2.0])])
    paths = write_results(tmp_path / "new", summary, {"people": 2}, torch.rand(3, 8, 9))
    assert [path.name for path in paths] == ["test_results.json", "test_results.md", "test_results.png"]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(path.name for path in paths)
    assert json.loads(paths[0].read_text(encoding="utf-8"))["results"]["protected"]["psnr"]["mean"] == 1.5
    assert "1.50 [" in paths[1].read_text(encoding="utf-8")


def test_the_identity_shift_of_a_set_is_the_ratio_of_the_means() -> None:
    values = {"identity_similarity": [0.2, 0.4], "similarity_drop": [0.6, 0.0], "strangers_similarity": [0.0, 0.2]}
    values |= {f"photo_{name}": value for name, value in values.items()}
    summary = summarise([{"protected": {name: torch.tensor(value) for name, value in values.items()}}])["protected"]
    # clean clips 0.6 on average, now 0.3, strangers 0.1: (0.6 − 0.3) / (0.6 − 0.1)
    assert summary["identity_shift"]["mean"] == pytest.approx(0.6)
    assert summary["photo_identity_shift"] == summary["identity_shift"]


def test_the_bootstrap_of_a_ratio_covers_the_ratio_of_the_means() -> None:
    random = torch.Generator().manual_seed(0)
    below = 1 + 0.2 * torch.randn(64, generator=random)
    above = 0.5 * below + 0.1 * torch.randn(64, generator=random)
    ratio, low, high = ratio_interval(above, below)
    assert ratio == pytest.approx(float(above.mean() / below.mean()), rel=1e-5)
    # the delta method: standard error of mean(above − ratio · below) / mean(below)
    half = 1.96 * float((above - ratio * below).std() / 64**0.5 / below.mean())
    assert (low, high) == (pytest.approx(ratio - half, abs=0.2 * half), pytest.approx(ratio + half, abs=0.2 * half))
    assert math.isnan(ratio_interval(above, -below)[0])
    assert ratio_interval(above[:1], below[:1])[0] == pytest.approx(float(above[0] / below[0]))
    assert math.isnan(ratio_interval(above[:1], below[:1])[1])


def test_tables_hold_what_was_measured_and_notes_follow() -> None:
    values = {version: {"psnr": torch.tensor([30.0, 31.0])} for version in VERSIONS}
    text = markdown(summarise([values]), {}, ["identity similarity is not judged: no judge was given"])
    assert "| version | PSNR in dB |" in text
    assert "cosine" not in text
    assert "Identity similarity is not judged: no judge was given." in text
