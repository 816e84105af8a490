"""Photos of a folder, in batches, for `anti-i2v layers`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from PIL import ImageOps
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.imaging.reading import is_photo
from anti_i2v.imaging.tensors import read_photo, resize, to_tensor
from anti_i2v.probing.sums import Photos

BATCH = 4
"""Photos that go through at once."""


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

    words = "photos of a folder, masks and identities not known"

    def __init__(self, folder: Path, prompt: str, height: int, width: int) -> None:
        if not folder.is_dir():
            raise UsageError(f"no folder {str(folder)!r}; --photos takes a folder of photos")
        self.files = sorted(file for file in folder.rglob("*") if is_photo(file) and file.is_file())
        if not self.files:
            raise UsageError(f"no photos in {folder}; give a folder of photos")
        self.prompts, self.height, self.width, self.number = (prompt,), height, width, len(self.files)
        self.failed: dict[Path, str] = {}

    def __len__(self) -> int:
        return -(-self.number // BATCH)

    def __iter__(self) -> Iterator[Photos]:
        waiting: list[Tensor] = []
        for file in self.files:
            if file in self.failed:
                continue
            try:
                waiting.append(self.read(file))
            except UsageError as error:
                self.failed[file] = str(error)
            if len(waiting) == BATCH:
                yield Photos(torch.stack(waiting), list(self.prompts) * BATCH)
                waiting = []
        if waiting:
            yield Photos(torch.stack(waiting), list(self.prompts) * len(waiting))
        elif len(self.failed) == self.number:
            raise UsageError(f"none of {self.number} photos can be read; the first: {next(iter(self.failed.values()))}")

    def read(self, file: Path) -> Tensor:
        """A photo, upright, its middle in the shape asked for: (3, height, width) in [0, 1]."""
        image = to_tensor(ImageOps.exif_transpose(read_photo(file)))
        rows, columns = image.shape[-2:]
        rows, columns = min(rows, max(1, columns * self.height // self.width)), min(columns, max(1, rows * self.width // self.height))
        top, left = (image.shape[-2] - rows) // 2, (image.shape[-1] - columns) // 2
        return resize(image[None, :, top : top + rows, left : left + columns], self.height, self.width)[0].clamp(0, 1)

    def report(self) -> int:
        """Name the photos that failed; how many."""
        for file, reason in self.failed.items():
            print(f"failed: {reason if str(file) in reason else f'{file}: {reason}'}", file=sys.stderr)
        return len(self.failed)


def make_folder(out: Path) -> None:
    """Make the folder of the results now, and not after the work.

    Raises:
        UsageError: It cannot be made.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot use --out {out}: {error.strerror}; choose another folder") from None
