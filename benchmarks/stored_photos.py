"""Photos that a benchmark of hours has made, stored in files so that it goes on after an interruption."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from anti_i2v import atomic
from anti_i2v.errors import UsageError


@dataclass(frozen=True)
class StoredPhotos:
    """One version of the photos.

    Attributes:
        photos: (P, 3, H, W) in [0, 1], values of an 8-bit file.
        seconds: What they took.
        commit: What they were made with.
    """

    photos: Tensor
    seconds: float
    commit: str


def read(file: Path, settings: Mapping[str, object]) -> StoredPhotos | None:
    """What `write` stored, or None where there is nothing yet.

    Args:
        file: A safetensors file.
        settings: All that the photos depend on, as plain types.

    Raises:
        UsageError: They were made with other settings.
    """
    if not file.is_file():
        return None
    with safe_open(file, "pt") as stored:
        metadata, photos = stored.metadata() or {}, stored.get_tensor("photos")
    before = json.loads(metadata["settings"])
    if other := [name for name in {**before, **settings} if before.get(name) != settings.get(name)]:
        words = ", ".join(f"{name} {before.get(name)} instead of {settings.get(name)}" for name in other)
        raise UsageError(f"{file} holds photos of {words}; delete it, or keep these in another folder")
    return StoredPhotos(photos.float() / 255, float(metadata["seconds"]), metadata["commit"])


def write(file: Path, settings: Mapping[str, object], version: StoredPhotos) -> None:
    """Store photos as uint8, complete or not at all; the folder is made if need be."""
    file.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"settings": json.dumps(dict(settings)), "seconds": repr(version.seconds), "commit": version.commit}
    with atomic.write(file) as part:
        save_file({"photos": (255 * version.photos).round().to(torch.uint8).cpu().contiguous()}, part, metadata=metadata)
