"""Target images: unrelated pictures that features are pulled toward, made by code or read from a file."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.imaging.reading import read_photo
from anti_i2v.imaging.tensors import resize, to_tensor

NAMES = ("grey", "checker", "stripes", "noise")
"""The target images made by code."""

CELLS = 16
"""Cells of `checker` and stripes of `stripes` along a side."""


def target_image(source: str, size: int = 256) -> Tensor:
    """A target image by name or path.

    Args:
        source: `grey`; `checker`, black and white squares, and `stripes`, black and white and upright, patterns of high contrast as
            Mist's (arXiv 2305.12683) is; `noise`, a mosaic of pure colours, always the same; or the path of a picture.
        size: Height and width in pixels, at least 16; a picture from a file is stretched to it.

    Returns:
        `(3, size, size)` in [0, 1].

    Raises:
        UsageError: Neither a name nor a readable picture, or the size is too small.
    """
    if size < CELLS:
        raise UsageError(f"size is {size}; a target image has at least {CELLS} pixels a side")
    cell = torch.arange(size) * CELLS // size
    match source:
        case "grey":
            plane = torch.full((size, size), 0.5)
        case "checker":
            plane = ((cell[:, None] + cell) % 2).float()
        case "stripes":
            plane = (cell % 2).float().expand(size, size)
        case "noise":
            colours = torch.randint(2, (3, CELLS * 4, CELLS * 4), generator=torch.Generator().manual_seed(0)).float()
            fine = torch.arange(size) * CELLS * 4 // size
            return colours[:, fine[:, None], fine]
        case _:
            try:
                file = Path(source).expanduser()
                exists = file.exists()
            except (OSError, RuntimeError):  # a name too long for a file, or ~ with an unknown user
                exists = False
            if not exists:
                raise UsageError(f"no target image {source!r}; give {', '.join(NAMES)}, or the path of a picture")
            return resize(to_tensor(read_photo(file))[None], size, size)[0]
    return plane.expand(3, size, size).contiguous()
