"""Resizing with Pillow, whose filters are those of torch's `interpolate(antialias=True, align_corners=False)`."""

from __future__ import annotations

import numpy as np
from PIL import Image

from anti_i2v.imaging.cielab import Floats
from anti_i2v.inference.planes import Pixels

STRIP = 2**18  # pixels that are floats at once


def shrink(pixels: Pixels, size: int) -> Floats:
    """A photo at the size that a network takes, bilinear: (H, W, 3) bytes → (3, size, size) in [0, 1]."""
    height, width, channels = pixels.shape
    narrow = np.empty((channels, height, size), np.float32)
    rows = max(1, STRIP // width)
    for top in range(0, height, rows):
        for plane, channel in zip(narrow, np.moveaxis(pixels[top : top + rows], 2, 0), strict=True):
            plane[top : top + rows] = _resize(channel.astype(np.float32), size, len(channel))
    return np.stack([_resize(plane, size, size) for plane in narrow]) / np.float32(255)


def _resize(plane: Floats, width: int, height: int) -> Floats:
    return np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR))
