"""Contact sheets: rows of pictures that let a person see what the figures say."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

GAP = 2
"""White pixels between pictures."""


def sheet(rows: Sequence[Sequence[Tensor]], size: int) -> Tensor:
    """Lay pictures out in a grid.

    Args:
        rows: Pictures (3, H, W) in [0, 1] of any sizes; shorter rows end in white.
        size: Side of each cell in pixels; pictures are scaled to it.

    Returns:
        (3, height, width) in [0, 1].
    """
    columns, cell = max(len(row) for row in rows), size + GAP
    canvas = torch.ones(3, len(rows) * cell - GAP, columns * cell - GAP)
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            scaled = F.interpolate(picture[None].detach().float().cpu(), (size, size), mode="nearest")[0]
            canvas[:, y * cell : y * cell + size, x * cell : x * cell + size] = scaled.clamp(0, 1)
    return canvas


def residual_picture(image: Tensor, protected: Tensor, gain: float = 10.0) -> Tensor:
    """The residual times `gain` around mid-grey, so that both signs show: (…, 3, H, W) in [0, 1] → the same."""
    return (0.5 + gain * (protected - image)).clamp(0, 1)


def some_frames(clip: Tensor, count: int = 4) -> list[Tensor]:
    """Frames spread over a clip, first and last among them: (T, 3, H, W) → at most `count` of (3, H, W)."""
    steps = min(count, len(clip))
    return [clip[round(i)] for i in torch.linspace(0, len(clip) - 1, steps).tolist()]
