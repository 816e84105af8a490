"""Loading diffusers pipelines from a folder, a shipped name or the hub: safetensors only, every failure one line."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from anti_i2v.errors import UsageError
from anti_i2v.resources import find_folder

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

WORLD = 2
"""Version of the embedded worlds: how people are drawn and at which size. Figures of two versions cannot be compared."""
WORLD_FILE = "world.json"
"""Beside `model_index.json` of an embedded world; other pipelines have none."""


def read_index(source: str) -> tuple[str, Mapping[str, object]]:
    """Where a pipeline lies and what its model_index.json says, without loading a weight.

    Args:
        source: A folder, the name of a shipped checkpoint, or a hub id `owner/name`.

    Raises:
        UsageError: It cannot be found, is not a pipeline, or is an embedded world of another version.
    """
    from diffusers import DiffusionPipeline

    on_hub = re.fullmatch(r"[\w.-]+/[\w.-]+", source) is not None and not Path(source).exists()
    location = source if on_hub else str(find_folder(source))
    if not on_hub and not (Path(location) / "model_index.json").is_file():
        raise UsageError(
            f"no model_index.json in {location}, so it is no diffusers pipeline; give a folder that a pipeline's save_pretrained wrote"
        )
    if not on_hub:
        _check_world(Path(location))
    try:
        return location, dict(DiffusionPipeline.load_config(location))
    except (OSError, ValueError) as error:
        here = f"cannot read {location}/model_index.json"
        where = f"no folder {source!r}, and the hub did not give it" if on_hub else here
        raise UsageError(f"{where}: {_first_line(error)}; give an existing pipeline folder or hub id") from error


def _check_world(folder: Path) -> None:
    """Refuse an embedded world of another version; what is no embedded world has no such file and passes."""
    file = folder / WORLD_FILE
    if not file.is_file():
        return
    try:
        found = json.loads(file.read_text(encoding="utf-8"))["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{file} names no version of an embedded world ({error}); fetch or make the folder again") from error
    if found != WORLD:
        raise UsageError(
            f"{folder} is an embedded world of version {found}, this anti_i2v knows version {WORLD}; "
            "train it again (checkpoints/README.md), or install the release that it came with"
        )


def load_pipeline(location: str) -> DiffusionPipeline:
    """The pipeline at a location from `read_index`, all weights in float32, also those stored in half precision.

    Raises:
        UsageError: A file is missing, unreadable or not safetensors.
    """
    from diffusers import DiffusionPipeline
    from safetensors import SafetensorError

    try:  # safetensors only: nothing is ever loaded by pickle
        pipeline = DiffusionPipeline.from_pretrained(location, dtype=torch.float32, use_safetensors=True)
    except (OSError, ValueError, SafetensorError) as error:
        reason = _first_line(error)
        raise UsageError(f"cannot load the pipeline {location}: {reason}; fetch or write it again") from error
    return pipeline


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(". ")
