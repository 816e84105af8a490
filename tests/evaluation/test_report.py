"""Tables of measures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from anti_i2v.evaluation.clips import VERSIONS
from anti_i2v.evaluation.report import COLUMNS, markdown, summarise, write_results


def part(values: list[float]) -> dict[str, dict[str, torch.Tensor]]:
    return {version: {measure: torch.tensor(values) for measure in COLUMNS} for version in VERSIONS}


def test_batches_are_put_together_by_person() -> None:
    summary = summarise([part([1.0, 2.0]), part([3.0])])
    found = summary["protected"]["first_frame"]
    # Student's t for 2 degrees of freedom is 4.3027, the standard error is 1/√3
    assert found["mean"] == pytest.approx(2.0)
    assert found["low"] == pytest.approx(2 - 4.3027 / 3**0.5, abs=1e-3)
    assert found["high"] == pytest.approx(2 + 4.3027 / 3**0.5, abs=1e-3)


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
