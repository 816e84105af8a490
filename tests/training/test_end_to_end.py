"""The whole path on the tiny model: fit, resume, export, protect; what comes out is what was trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anti_i2v import Protector
from anti_i2v.__main__ import main as anti_i2v
from anti_i2v.training.cli import main as train
from tests.tiny import tiny_portrait_dit
from tests.tiny.training import tiny_config


def test_fit_resume_export_protect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config(tmp_path / "tiny.yaml", tiny_portrait_dit(tmp_path / "video_model"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")  # nothing may depend on where one stands

    train(["fit", "--config", str(config)])
    first = tmp_path / "run" / "version_0"
    last = str(first / "checkpoints" / "last.ckpt")
    train(["fit", "--config", str(first / "config.yaml"), "--trainer.max_steps", "3", "--ckpt_path", last])
    second = tmp_path / "run" / "version_1"

    exported = tmp_path / "mine"
    assert anti_i2v(["export", str(second / "checkpoints" / "last.ckpt"), str(exported), "--config", str(second / "config.yaml")]) == 0
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (45, 70, 3), dtype=np.uint8))
    photo.save(tmp_path / "photo.png")
    assert anti_i2v(["protect", str(tmp_path / "photo.png"), "--out", str(tmp_path / "out"), "--generator", str(exported), "--quiet"]) == 0

    protected = np.asarray(Image.open(tmp_path / "out" / "photo.png")).astype(int)
    change = np.abs(protected - np.asarray(photo).astype(int))
    assert protected.shape == (45, 70, 3)
    assert 0 < change.max() <= 8
    # The folder that training wrote by itself is the same generator as the one exported from its checkpoint.
    own = Protector.from_pretrained(second / "generator").protect(photo)
    assert np.abs(np.asarray(own).astype(int) - protected).max() <= 1  # the command takes model.onnx where it can be written
    assert (np.asarray(own) == protected).mean() > 0.99
    assert not list((tmp_path / "elsewhere").iterdir())
