"""Resizing as matrix products: the weights of torch's `interpolate(antialias=True, align_corners=False)`, without torch."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from anti_i2v.cielab import Floats
from anti_i2v.planes import Pixels

Kind = Literal["bilinear", "bicubic"]
STRIP = 2**18  # pixels that are floats at once


def weights(count: int, size: int, kind: Kind) -> Floats:
    """What each of `size` samples takes from each of `count`: (size, count) float32, rows that sum to 1.

    The filter is as wide as a step between the new samples, and no narrower than between the old ones; at the edges it is cut off.
    """
    step = count / size
    centre = (np.arange(size)[:, None] + 0.5) * step
    # Samples lie in the middle of their pixels.
    distance = (np.arange(count) + 0.5 - centre) / max(step, 1.0)
    found = _bilinear(np.abs(distance)) if kind == "bilinear" else _bicubic(np.abs(distance))
    shares: Floats = (found / found.sum(1, keepdims=True)).astype(np.float32)
    return shares


def _bilinear(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.maximum(1 - x, 0)


def _bicubic(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Keys' cubic convolution (1981), a = −1/2."""
    near, far = (1.5 * x - 2.5) * x * x + 1, ((2.5 - 0.5 * x) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def shrunk(pixels: Pixels, size: int) -> Floats:
    """A photo at the size that a network sees: (H, W, 3) bytes → (3, size, size) in [0, 1]."""
    height, width, channels = pixels.shape
    down, across = weights(height, size, "bilinear"), weights(width, size, "bilinear")
    flat = np.zeros((size, width * channels), np.float32)
    rows = max(1, STRIP // width)
    for top in range(0, height, rows):
        strip = pixels[top : top + rows].astype(np.float32)
        flat += down[:, top : top + rows] @ strip.reshape(len(strip), -1)
    narrow = across @ flat.reshape(size, width, channels)  # (size, size, channels)
    return np.ascontiguousarray(np.moveaxis(narrow, 2, 0)) / np.float32(255)
