"""The config for photographs trains as it is, on a few rendered people in the place of real ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from anti_i2v.imaging.landmarks import COLUMNS
from anti_i2v.imaging.tensors import to_pil
from anti_i2v.portraits import PortraitClips
from anti_i2v.training.cli import main

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "photo.yaml"


@pytest.mark.slow
def test_two_steps_give_a_generator_that_names_what_it_was_trained_against(tmp_path: Path) -> None:
    photos, rows = tmp_path / "photos", [",".join(COLUMNS)]
    photos.mkdir()
    for i, image in enumerate(PortraitClips("train", 1, 128, 128).batch(range(12)).video[:, 0]):
        to_pil(image).save(photos / f"{i:02}.png")
        rows.append(f"{i:02}.png,50,50,78,50,64,64,52,80,76,80")
    (photos / "landmarks.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    options = {
        "data.source.sources.real.init_args.folder": str(photos),
        "data.source.sources.rendered.init_args.kept": "8",
        "data.batch_size": "2",
        "trainer.accelerator": "cpu",
        "trainer.max_steps": "2",
        "trainer.val_check_interval": "2",
        "trainer.limit_val_batches": "1",
        "trainer.logger.save_dir": str(tmp_path),
        "trainer.default_root_dir": str(tmp_path),
    }
    main(["fit", "--config", str(CONFIG), *[part for key, value in options.items() for part in (f"--{key}", value)]])
    card = json.loads((tmp_path / "photo-generator" / "version_0" / "generator" / "config.json").read_text())
    assert card["protects_against"] == "wan, cogvideox, kl, portrait-dit"
    assert card["embedders"] == ["photo-faces", "portrait-faces-2"]
