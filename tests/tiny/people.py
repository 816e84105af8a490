"""People of the simplest kind, red discs before grey, and backends that find them: for all that comes after the networks."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image
from scipy import ndimage

from anti_i2v.imaging.cielab import Floats

NOBODY, SURE = -8.0, 4.0


def scene(height: int, width: int, *people: tuple[int, int, int]) -> Image.Image:
    """A grey texture with red discs: y and x of the centre and the height of each."""
    fine = np.random.default_rng(0).integers(60, 180, (1 + height // 8, 1 + width // 8), dtype=np.uint8)
    pixels = np.repeat(fine.repeat(8, 0).repeat(8, 1)[:height, :width, None], 3, 2)
    rows, columns = np.mgrid[:height, :width] + 0.5
    for y, x, size in people:
        pixels[np.hypot(rows - y, columns - x) < size / 2] = 200, 60, 60
    return Image.fromarray(pixels)


class DiscBackend:
    """Finds red discs of 10 to 44 pixels, and paints what depends on the window's own pixels; it has no use for keys."""

    working_size = 16

    def find(self, copy: Floats) -> Floats:
        red = (copy[0] - copy[1]) / (140 / 255)  # what a pixel has of a disc; the grey around has none
        found = np.zeros((4, -(-copy.shape[1] // 4), -(-copy.shape[2] // 4)), np.float32)
        found[0] = NOBODY
        parts, count = ndimage.label(red > 0.01)
        for part in range(1, count + 1):
            share = np.where(parts == part, red, 0)
            size = 2 * math.sqrt(share.sum() / math.pi)
            if 10 <= size <= 44:
                y, x = (value + 0.5 for value in ndimage.center_of_mass(share))
                row, column = int(y // 4), int(x // 4)
                found[:, row, column] = SURE, y / 4 - row - 0.5, x / 4 - column - 0.5, math.log2(size / 20)
        return found

    def propose(self, window: Floats, epsilon: np.float32, key: Floats) -> dict[str, Floats]:
        coarse = window.reshape(3, 4, 4, 4, 4).mean((2, 4))
        return {"rgb": (4 * (coarse - coarse.mean((1, 2), keepdims=True))).astype(np.float32)}


def middle_face(copy: Floats) -> Floats:
    """A map of one face, in the middle of the copy, 20 pixels high."""
    height, width = (-(-side // 4) for side in copy.shape[1:])
    found = np.zeros((4, height, width), np.float32)
    found[0] = NOBODY
    found[0, height // 2, width // 2] = SURE
    return found
