"""The benchmark of several workers, from the command line to the table, on tiny photos."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.bulk import main


def test_one_worker_and_two_are_timed_in_pairs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--engines", "threads", "--photos", "64x48.jpg", "--count", "8", "--runs", "2", "--out", str(tmp_path)])
    (row,) = json.loads((tmp_path / "bulk.json").read_text())["rows"]
    assert (row["photo"], row["engine"]) == ("64x48 JPG", "threads")
    median, least, most = row["ratio"]
    assert 0 < least <= median <= most
    assert 0 < row["bound"][0] < 1  # to protect takes time
    output = capsys.readouterr().out
    assert output == (tmp_path / "bulk.md").read_text() + "\n"
    assert "python -m benchmarks.bulk --engines threads --photos 64x48.jpg --count 8" in output
