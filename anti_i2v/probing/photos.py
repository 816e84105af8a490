"""The photos that a surrogate is probed with: the protocol for all of them, and those of a folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import torch
from PIL import ImageOps
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.imaging.reading import is_photo, read_photo
from anti_i2v.imaging.tensors import resize, to_tensor
from anti_i2v.probing.sums import Photos

BATCH = 4
"""Photos of a folder in one batch."""


class PhotoBatches(Protocol):
    """Photos in batches; iterating over them again gives the same photos again."""

    @property
    def description(self) -> str:
        """What they are, for people."""

    @property
    def prompts(self) -> Sequence[str]:
        """All their prompts."""

    @property
    def count(self) -> int:
        """Number of photos."""

    @property
    def failures(self) -> Mapping[Path, str]:
        """Files that could not be read, and why."""

    def __len__(self) -> int:
        """Number of batches."""

    def __iter__(self) -> Iterator[Photos]: ...


class FolderPhotos:
    """Photos of a folder and its subfolders, cut to the shape of the surrogate's photos around their middle.

    Args:
        folder: Where they lie.
        prompt: For all of them.
        height: In pixels.
        width: In pixels.

    Raises:
        UsageError: No such folder, or no photo in it.
    """

    description = "photos of a folder, masks and identities not known"

    def __init__(self, folder: Path, prompt: str, height: int, width: int) -> None:
        if not folder.is_dir():
            raise UsageError(f"no folder {str(folder)!r}; --photos takes a folder of photos")
        self.files = sorted(file for file in folder.rglob("*") if is_photo(file) and file.is_file())
        if not self.files:
            raise UsageError(f"no photos in {folder}; give a folder of photos")
        self.prompts, self.height, self.width, self.count = (prompt,), height, width, len(self.files)
        self.failures: dict[Path, str] = {}

    def __len__(self) -> int:
        return -(-self.count // BATCH)

    def __iter__(self) -> Iterator[Photos]:
        waiting: list[Tensor] = []
        for file in self.files:
            if file in self.failures:
                continue
            try:
                waiting.append(self.read(file))
            except UsageError as error:
                self.failures[file] = str(error)
            if len(waiting) == BATCH:
                yield Photos(torch.stack(waiting), list(self.prompts) * BATCH)
                waiting = []
        if waiting:
            yield Photos(torch.stack(waiting), list(self.prompts) * len(waiting))
        elif len(self.failures) == self.count:
            raise UsageError(f"none of {self.count} photos can be read; the first: {next(iter(self.failures.values()))}")

    def read(self, file: Path) -> Tensor:
        """A photo, upright, its middle in the surrogate's shape: (3, height, width) in [0, 1]."""
        image = to_tensor(ImageOps.exif_transpose(read_photo(file)))
        rows, columns = image.shape[-2:]
        rows, columns = min(rows, max(1, columns * self.height // self.width)), min(columns, max(1, rows * self.width // self.height))
        top, left = (image.shape[-2] - rows) // 2, (image.shape[-1] - columns) // 2
        return resize(image[None, :, top : top + rows, left : left + columns], self.height, self.width)[0].clamp(0, 1)
