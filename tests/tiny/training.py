"""A training run of the real classes that takes a second: tiny video model, tiny backbone, two people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import lightning.pytorch as pl
import yaml

from anti_i2v.data import PhotoDataModule
from anti_i2v.generators.salience import SalienceNetwork, save_salience
from anti_i2v.objectives import FeatureObjective
from anti_i2v.portraits import PortraitPhotos
from anti_i2v.training.module import ProtectionModule
from anti_i2v.training.transforms import Identity
from tests.tiny import FRAMES, HEIGHT, WIDTH
from tests.tiny.generator import all_faces, tiny_network

TAPS = ["blocks.1", "blocks.2"]
BACKBONE = {"backbone": "resnet10t", "working_size": 32, "chroma_size": 4, "cutoff": 4, "width": 16}


def tiny_module(video_model: Path, **changes: object) -> ProtectionModule:
    """A module on the tiny model; the generator's weights are always the same."""
    settings: dict[str, object] = {
        "taps": TAPS,
        "surrogate": video_model,
        "height": HEIGHT,
        "width": WIDTH,
        "num_frames": FRAMES,
        "steps": 3,
        "min_sigma": 0.0,
        "warmup_steps": 1,
        "transform": Identity(),
        "objective": FeatureObjective(),
        "judge": None,
        "actions": None,
    }
    if "generator" not in changes:
        settings["generator"] = tiny_network(**BACKBONE)  # type: ignore[arg-type]
    return ProtectionModule(**{**settings, **changes})  # type: ignore[arg-type]


def tiny_data(batch_size: int = 2, people: int = 2) -> PhotoDataModule:
    """Portraits at 32×32."""
    return PhotoDataModule(PortraitPhotos(people), photo_size=32, batch_size=batch_size)


def tiny_trainer(folder: Path, callbacks: Sequence[pl.Callback] = (), **changes: object) -> pl.Trainer:
    """A silent CPU trainer that writes below `folder`."""
    settings: dict[str, object] = {
        "accelerator": "cpu",
        "max_steps": 2,
        "limit_val_batches": 1,
        "val_check_interval": 2,
        "num_sanity_val_steps": 0,
        "log_every_n_steps": 1,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "default_root_dir": folder,
        "callbacks": list(callbacks),
        "logger": False,
        "enable_checkpointing": False,
    }
    return pl.Trainer(**{**settings, **changes})  # type: ignore[arg-type]


def tiny_config(path: Path, video_model: Path, **trainer: object) -> Path:
    """Write a config file of the same run; `video_model` is stated relative to the file."""
    save_salience(all_faces(SalienceNetwork()), path.parent / "salience")
    config = {
        "model": {
            "class_path": "anti_i2v.training.module.ProtectionModule",
            "init_args": {
                "generator": {
                    "class_path": "anti_i2v.generators.BackboneGenerator",
                    "init_args": BACKBONE | {"salience": str(path.parent / "salience")},
                },
                "objective": {"class_path": "anti_i2v.objectives.FeatureObjective"},
                "transform": {"class_path": "anti_i2v.training.transforms.Identity"},
                "taps": TAPS,
                "surrogate": str(video_model.relative_to(path.parent)),
                "height": HEIGHT,
                "width": WIDTH,
                "num_frames": FRAMES,
                "steps": 3,
                "min_sigma": 0.0,
            },
        },
        "data": {
            "class_path": "anti_i2v.data.PhotoDataModule",
            "init_args": {
                "source": {"class_path": "anti_i2v.portraits.PortraitPhotos", "init_args": {"people": 2}},
                "photo_size": 32,
                "batch_size": 2,
            },
        },
        "trainer": {
            "accelerator": "cpu",
            "max_steps": 2,
            "limit_val_batches": 1,
            "val_check_interval": 2,
            "check_val_every_n_epoch": None,
            "num_sanity_val_steps": 0,
            "log_every_n_steps": 1,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "default_root_dir": str(path.parent / "run"),
            "logger": {
                "class_path": "lightning.pytorch.loggers.TensorBoardLogger",
                "init_args": {"save_dir": str(path.parent / "run"), "name": None},
            },
            "callbacks": [
                {
                    "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
                    "init_args": {"save_last": True, "monitor": "val/damage", "mode": "max", "filename": "best"},
                },
                {"class_path": "anti_i2v.training.callbacks.GeneratorExport"},
            ],
            **trainer,
        },
    }
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path
