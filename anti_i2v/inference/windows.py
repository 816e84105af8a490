"""Where people are: from the salience network's maps to square windows of the photo, without torch.

The network sees copies of the photo at several scales (`levels`) and gives a map for each; peaks of the maps become windows
(`find_windows`), each with a soft mask (`mask`) by which what is computed in it is laid into the photo.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from anti_i2v.errors import UsageError

Map = NDArray[np.float32]

STRIDE = 4
"""Pixels of a copy along each side of a cell of its map."""

TYPICAL_HEIGHT = 20.0
"""Face height in pixels of the copy at which a map's fourth channel is 0."""

SIDES = (24, 48, 96, 192, 384)
"""Shorter sides of the copies in pixels."""

MIN_SIDE = 16
"""Shorter side of the smallest copy in pixels; no face can be found in less."""

MAX_PIXELS = 1 << 19
"""Pixels of the largest copy: 384 × 1365. Copies of longer photos are smaller."""

THRESHOLD = 0.25
"""Probability from which on a peak becomes a window; its strength rises from 0 here to 1 at twice as much."""

SIDE_OF_FACE = 1.6
"""Side of a window over the height of its face."""

MOST = 64
"""Windows of a photo at most: the strongest."""


@dataclass(frozen=True)
class Window:
    """A square of whole pixels around a face; it may reach beyond the photo.

    `top` and `left` are pixels from the photo's corner, `side` is in pixels, `strength` is in [0, 1].
    """

    top: int
    left: int
    side: int
    strength: float

    def meets(self, height: int, width: int) -> bool:
        """Whether any of it lies within a photo of so many pixels."""
        return -self.side < self.top < height and -self.side < self.left < width

    def scaled(self, factor: float) -> Window:
        """This window in a copy of the photo whose sides are `factor` times as long."""
        top, left, side = (round(value * factor) for value in (self.top, self.left, self.side))
        return replace(self, top=top, left=left, side=max(1, side))


def levels(height: int, width: int) -> list[tuple[int, int]]:
    """Sizes of the copies in which the salience network looks for faces, smallest first.

    Shorter sides are 24, 48, … 384 pixels, as far as the photo has them; a photo between two of them is seen at its own size as well where
    that shows smaller faces. Copies are never larger than the photo nor than `MAX_PIXELS`.

    Args:
        height: Of the photo in pixels, ≥ 1.
        width: Of the photo in pixels, ≥ 1.

    Returns:
        (height, width) of each copy; none for a photo with a shorter side below 16 pixels.
    """
    short, long = min(height, width), max(height, width)
    most = min(short, SIDES[-1], math.isqrt(MAX_PIXELS * short // long))
    if most < MIN_SIDE:
        return []
    sides = [side for side in SIDES if side <= most]
    if not sides or most >= 1.25 * sides[-1]:
        sides.append(most)
    copies = [(side, max(side, round(long * side / short))) for side in sides]
    return copies if height <= width else [(w, h) for h, w in copies]


def find_windows(heat: Sequence[Map], height: int, width: int) -> list[Window]:
    """The windows of a photo from the salience network's maps of its copies.

    A peak is a cell of at least `THRESHOLD` that none of its eight neighbours exceeds. Of peaks within half a face height of one another
    (the larger one's), in one map or in several, only the strongest stays.

    Args:
        heat: A map (4, ⌈h/4⌉, ⌈w/4⌉) for each copy of `levels`, channels as `SalienceNetwork` gives them.
        height: Of the photo in pixels.
        width: Of the photo in pixels.

    Returns:
        At most `MOST` windows, the most probable first.

    Raises:
        UsageError: A map holds values that are not finite.
    """
    copies = levels(height, width)
    if not all(np.isfinite(values).all() for values in heat):  # NaN would find nobody, and protect nobody without a word
        raise UsageError("the salience network yields values that are not finite; its weights are damaged, get them again")
    if len(heat) != len(copies):
        raise ValueError(f"{len(heat)} maps for the {len(copies)} copies of a photo of {height} × {width} pixels")
    found = [_peaks(values, height / h, width / w) for values, (h, w) in zip(heat, copies, strict=True)]
    logit, y, x, size = np.concatenate([np.zeros((4, 0)), *found], axis=1)
    order = np.argsort(-logit, kind="stable")  # equals stay as they are: coarse maps first, then from the top left
    logit, y, x, size = logit[order], y[order], x[order], size[order]
    left = np.ones(len(logit), dtype=bool)
    windows: list[Window] = []
    while left.any() and len(windows) < MOST:
        i = int(left.argmax())
        windows.append(_window(float(logit[i]), float(y[i]), float(x[i]), float(size[i])))
        left &= np.hypot(y - y[i], x - x[i]) >= 0.5 * np.maximum(size, size[i])
        left[i] = False
    return windows


def _peaks(values: Map, scale_y: float, scale_x: float) -> NDArray[np.float64]:
    """(4, N): logit, y and x of the centre and height of each face of a map, in pixels of the photo, row by row."""
    logit = values[0]
    rows, columns = logit.shape
    around = np.pad(logit, 1, constant_values=-np.inf)
    highest = np.max([around[i : i + rows, j : j + columns] for i in range(3) for j in range(3)], axis=0)
    row, column = np.nonzero((logit >= highest) & (logit >= math.log(THRESHOLD / (1 - THRESHOLD))))
    picked = values[:, row, column].astype(np.float64)
    y = (row + 0.5 + picked[1].clip(-1.5, 1.5)) * (STRIDE * scale_y)
    x = (column + 0.5 + picked[2].clip(-1.5, 1.5)) * (STRIDE * scale_x)
    size = TYPICAL_HEIGHT * 2.0 ** picked[3].clip(-2, 2) * math.sqrt(scale_y * scale_x)
    return np.stack([picked[0], y, x, size])


def _window(logit: float, y: float, x: float, size: float) -> Window:
    probability = 1 / (1 + math.exp(-logit))
    return window_around(y, x, size, min(1.0, max(0.0, (probability - THRESHOLD) / THRESHOLD)))


def window_around(y: float, x: float, face: float, strength: float = 1.0) -> Window:
    """The window of a face: its centre and height in pixels of the photo."""
    side = max(1, round(SIDE_OF_FACE * face))
    return Window(math.floor(y - side / 2 + 0.5), math.floor(x - side / 2 + 0.5), side, strength)


def mask(side: int) -> NDArray[np.float32]:
    """The soft mask of a window along one axis; over both it is the outer product with itself.

    Args:
        side: Of the window in pixels, ≥ 1.

    Returns:
        (side,): 1 within the middle 70 %, falling to 0 at the edges as a raised cosine.
    """
    distance = np.abs((np.arange(side) + 0.5) / side - 0.5)  # 0 in the middle, 0.5 at the edges
    return (0.5 + 0.5 * np.cos(np.pi * ((distance - 0.35) / 0.15).clip(0, 1))).astype(np.float32)
