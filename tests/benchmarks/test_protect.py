"""The benchmark of protecting, from the command line to the file, on tiny photos and a tiny generator."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks.large import large
from benchmarks.protect import STAGES, Stopwatch, main
from benchmarks.tables import fill


def test_a_stopwatch_adds_up_what_is_called_twice() -> None:
    watch = Stopwatch()
    assert [watch("a", lambda: 3), watch("a", lambda: 4)] == [3, 4]
    first = watch.seconds["a"]
    watch("a", lambda: sum(range(100_000)))
    assert watch.seconds["a"][0] > first[0]
    assert watch.seconds["a"][1] > first[1]


def test_a_large_picture_has_texture() -> None:
    photo = large("portrait", 60, 40)
    assert (photo.size, photo.mode) == ((60, 40), "RGB")
    assert photo.tobytes() == large("portrait", 60, 40).tobytes() != large("portrait", 60, 40, seed=1).tobytes()


def test_photos_are_timed_in_pairs_and_compared_with_every_pixel_for_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = ["--photos", "64x48.png", "1000x40.jpg", "--large", "640x640", "--pictures", "portrait", "--runs", "2", "--fresh", "0"]
    threads = torch.get_num_threads()
    main([*photos, "--threads", str(threads), "--out", str(tmp_path / "docs/protect")])
    data = json.loads((tmp_path / "docs/protect/protect.json").read_text())
    photos_and_runtimes = [(row["size"], row["format"], row["runtime"]) for row in data["rows"]]
    assert photos_and_runtimes == [(*photo, by) for photo in (("64x48", "PNG"), ("1000x40", "JPG")) for by in ("onnx", "torch")]
    for row in data["rows"]:
        for clock in ("wall", "cpu"):
            times = row[clock]
            assert list(times["stages"]) == list(STAGES)
            assert min(times["stages"].values()) >= 0
            assert times["ratio_verified"][0] > times["ratio"][0] > 0
            assert times["ratio"][1] <= times["ratio"][0] <= times["ratio"][2]
    (alike,) = data["faithfulness"]
    assert alike["correlation"] > 0.95
    assert alike["largest"] == [8, 8]
    assert 0 < alike["apart_rms"] < alike["rms"][0]
    assert alike["seen_rms_ratio"] == pytest.approx(1, abs=0.05)
    output = capsys.readouterr().out
    assert output.rstrip() == (tmp_path / "docs/protect/protect.md").read_text().rstrip()
    assert "arXiv 2412.09844" in output
    assert "| 1000x40 JPG, " in fill("<!-- copy: protect/protect | What protecting a photo costs --><!-- end -->", tmp_path)
