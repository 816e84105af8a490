"""The comparison of methods from its command line to its file, on a tiny model with untrained judges."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from anti_i2v.protector import Protector
from benchmarks import methods
from tests.tiny import FRAMES, HEIGHT, WIDTH
from tests.tiny.generator import tiny_network
from tests.tiny.training import BACKBONE


def test_all_versions_are_made_judged_and_timed(wan: Path, judges: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generator = tiny_network(**BACKBONE)
    Protector(generator).save_pretrained(tmp_path / "generator", card="", extra={"surrogate": "wan"})
    sizes = f"--size {HEIGHT}x{WIDTH} --num-frames {FRAMES} --photo-size 32 --people 2 --seeds 0 --steps 1 --steps-each 1"
    common = ["--surrogate", str(wan), "--generator", str(tmp_path / "generator"), *judges, "--out", str(tmp_path / "out")]
    methods.main([*sizes.split(), *common, *["--methods", "photoguard", "anti-i2v", "--refine", "0", "2", "--scratch", "1"]])
    data = json.loads((tmp_path / "out" / "methods.json").read_text(encoding="utf-8"))
    names = ["photoguard_1", "anti-i2v_1", "refine_0", "refine_2", "scratch_1"]
    assert list(data["results"]) == ["clean", "white_noise", "one_pass", *names]
    for name in ("one_pass", *names):
        assert data["results"][name]["psnr"]["mean"] >= 30  # what epsilon 8 allows
        assert data["memory"][name] > 0
        assert data["seconds"][name] > 0
    assert set(data["alone"]) == set(names)
    # No step from one pass is one pass, to the last figure.
    assert data["results"]["refine_0"] == data["results"]["one_pass"] != data["results"]["refine_2"]
    assert "| anti-i2v 1 |" in capsys.readouterr().out
