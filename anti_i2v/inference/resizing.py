"""Resizing with Pillow, whose filters are those of torch's `interpolate(antialias=True, align_corners=False)`."""

from __future__ import annotations

import numpy as np
from PIL import Image

from anti_i2v.imaging.cielab import Floats
from anti_i2v.inference.planes import Pixels

STRIP = 2**18  # pixels that are floats at once


def weights(count: int, size: int) -> Floats:
    """What each of `size` samples takes from each of `count` in bicubic resizing: (size, count), rows that sum to 1."""
    return _resized(np.eye(count, dtype=np.float32), count, size, Image.Resampling.BICUBIC)


def shrunk(pixels: Pixels, size: int) -> Floats:
    """A photo at the size that a network sees, bilinear: (H, W, 3) bytes → (3, size, size) in [0, 1]."""
    height, width, channels = pixels.shape
    narrow = np.empty((channels, height, size), np.float32)
    rows = max(1, STRIP // width)
    for top in range(0, height, rows):
        for plane, channel in zip(narrow, np.moveaxis(pixels[top : top + rows], 2, 0), strict=True):
            plane[top : top + rows] = _resized(channel.astype(np.float32), size, len(channel), Image.Resampling.BILINEAR)
    return np.stack([_resized(plane, size, size, Image.Resampling.BILINEAR) for plane in narrow]) / np.float32(255)


def _resized(plane: Floats, width: int, height: int, how: Image.Resampling) -> Floats:
    return np.asarray(Image.fromarray(plane).resize((width, height), how))
