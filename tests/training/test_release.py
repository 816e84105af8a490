"""Checkpoint → generator folder, by `anti-i2v export`."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anti_i2v.__main__ import main
from anti_i2v.generators import BackboneGenerator
from anti_i2v.generators.half import as_in_file
from anti_i2v.protector import Protector
from tests.tiny.generator import tiny_network


def network(seed: int) -> BackboneGenerator:
    """A small generator with its own weights."""
    return tiny_network(seed)


def checkpoint(path: Path, is_average: bool = True) -> Path:
    """What Lightning writes for a `ProtectionModule`, as far as export reads it."""
    last, mean = network(0), network(1)
    state = {f"generator.{key}": value for key, value in last.state_dict().items()}
    if is_average:
        state |= {f"ema.{key}": value for key, value in mean.state_dict().items()}
    described = {"class": type(last).__name__, "config": last.config()}
    facts = {"generator": described, "epsilon": 6.0, "protects_against": "portrait-dit", "taps": ["blocks.3"], "seed": 5}
    torch.save({"state_dict": state, "global_step": 70, "epoch": 1, "anti_i2v": facts, "optimizer_states": []}, path)
    return path


@pytest.fixture(autouse=True)
def _without_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing model.onnx takes longer than all else here; `test_end_to_end` does it."""
    monkeypatch.setitem(sys.modules, "onnxscript", None)


@pytest.mark.parametrize("is_average", [True, False])
def test_the_folder_protects_as_the_averaged_generator_does(tmp_path: Path, is_average: bool) -> None:
    ckpt = checkpoint(tmp_path / "last.ckpt", is_average)
    assert main(["export", str(ckpt), str(tmp_path / "mine")]) == 0
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8))
    exported = Protector.from_pretrained(tmp_path / "mine", backend="torch").protect(photo)
    rounded = as_in_file(network(1 if is_average else 0), tmp_path / "mine/model.safetensors")
    expected = Protector(rounded, 6.0).protect(photo)
    assert np.array_equal(np.asarray(exported), np.asarray(expected))
    assert not np.array_equal(np.asarray(exported), np.asarray(photo))


def test_config_and_card_state_what_is_known_and_what_is_not(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("model:\n  lr: 0.001\n")
    ckpt = checkpoint(tmp_path / "last.ckpt")
    assert main(["export", str(ckpt), str(tmp_path / "mine"), "--config", str(tmp_path / "config.yaml")]) == 0
    config = json.loads((tmp_path / "mine/config.json").read_text())
    assert config["epsilon"] == 6.0
    assert config["protects_against"] == "portrait-dit"
    card = (tmp_path / "mine/README.md").read_text()
    assert card.startswith("---\nlicense: apache-2.0\nlibrary_name: anti-i2v\n")  # what the hub files it by
    for words in ("portrait-dit", "blocks.3", "lr: 0.001", "not measured", "does **not** protect", "| Training steps | 70 |"):
        assert words in card


def test_without_what_writes_onnx_the_folder_is_for_torch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ckpt = checkpoint(tmp_path / "last.ckpt")
    assert main(["export", str(ckpt), str(tmp_path / "mine")]) == 0
    expected = "no model.onnx, so photos are protected with torch: writing ONNX needs onnxscript, which is not installed; pip install"
    assert expected in capsys.readouterr().out
    assert sorted(p.name for p in (tmp_path / "mine").iterdir()) == ["README.md", "config.json", "model.safetensors"]


class Harmful:
    """Unpickling this would run code."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("executed",)


def test_what_is_no_checkpoint_of_ours_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.ckpt").write_text("nothing")
    (tmp_path / "harm.ckpt").write_bytes(pickle.dumps(Harmful()))
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    torch.save({"state_dict": {}, "harm": Harmful()}, tmp_path / "zip.ckpt")
    for name in ("none", "text", "harm", "other", "zip"):
        assert main(["export", str(tmp_path / f"{name}.ckpt"), str(tmp_path / "mine")]) == 2
        words = capsys.readouterr()
        assert "executed" not in words.out
        (line,) = words.err.strip().splitlines()
        assert line.startswith("error: ")
        assert f"{name}.ckpt" in line
        assert not (tmp_path / "mine").exists()


def test_an_existing_folder_is_kept_without_overwrite(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ckpt = checkpoint(tmp_path / "last.ckpt")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("only copy")
    assert main(["export", str(ckpt), str(tmp_path / "mine")]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
