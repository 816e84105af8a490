"""The perturbation spaces in NumPy: what `anti_i2v.spaces` does, for photos of bytes and a strip at a time.

Sums of products by `einsum` and not `@`: how a library for linear algebra rounds depends on the number of threads and on the processor,
and a photo has one protection.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from anti_i2v.epsilon import GAIN
from anti_i2v.imaging.cielab import TO_XYZ, WHITE, Floats, cube_root, linear
from anti_i2v.inference.planes import Pixels
from anti_i2v.inference.resizing import weights

SHADES = np.arange(256, dtype=np.float32) / np.float32(255)
LIGHT = linear(SHADES)
# XYZ → linear sRGB, with X and Z in units of their white.
TO_RED_GREEN_BLUE = WHITE * np.array(
    [
        [3.2404813432005266, -1.5371515162713185, -0.4985363261688878],
        [-0.9692549499965682, 1.8759900014898907, 0.0415559265582928],
        [0.0556466391351772, -0.2040413383665112, 1.0573110696453443],
    ],
    np.float32,
)
KNEE, BEND = np.float32(0.0031308), np.float32(0.2068966)  # of sRGB and of the cube, below which they are lines


@dataclass(frozen=True)
class Field:
    """Numbers drawn at the size of a photo by a separable expansion.

    Attributes:
        values: (C, H, w), expanded down already.
        columns: (w, W), what each pixel column takes from each of `values`.
    """

    values: Floats
    columns: Floats

    def rows(self, top: int, stop: int) -> Floats:
        """Rows `top … stop` of the field: (C, stop − top, W)."""
        drawn: Floats = np.einsum("chk,kw->chw", self.values[:, top:stop], self.columns)
        return drawn


def fields(parameters: Mapping[str, Floats], height: int, width: int) -> dict[str, Field]:
    """What a generator says of a photo, ready to be drawn.

    Args:
        parameters: `rgb` (3, h, w), `lab` (2, h, w) and `frequency` (3, K, K), as far as the generator gives them; see `Generator.forward`.
        height: Of the photo, in pixels.
        width: Likewise.
    """
    found = {}
    for name, values in parameters.items():
        count = values.shape[1:]
        if name == "frequency":
            down, across = cosines(height, count[0]), cosines(width, count[1])
        else:
            down, across = weights(count[0], height), weights(count[1], width)
        found[name] = Field(np.einsum("hk,ckw->chw", down, values), np.ascontiguousarray(across.T))
    return found


def cosines(size: int, count: int) -> Floats:
    """The basis s(u)·cos(π(i+½)u/size): (size, count); see `spaces.frequency.cosine_basis`."""
    place, frequency = (np.arange(size) + 0.5) / size, np.arange(count)
    basis = np.cos(math.pi * place[:, None] * frequency) * math.sqrt(2 / count)
    basis[:, 0] = math.sqrt(1 / count)
    basis[:, size:] = 0
    return basis.astype(np.float32)


def residual(pixels: Pixels, drawn: Mapping[str, Field], epsilon: np.float32, top: int) -> Floats:
    """The sum of the spaces' residuals, before the budget.

    Args:
        pixels: (n, W, 3) sRGB bytes, the rows of a photo from `top` on.
        drawn: The photo's fields by space.
        epsilon: In 1/255 steps.
        top: First row of `pixels` within the photo.

    Returns:
        (3, n, W), [0, 1] units.
    """
    total = np.zeros((3, *pixels.shape[:2]), np.float32)
    for name, field in drawn.items():
        values = field.rows(top, top + len(pixels))
        if name == "lab":
            values *= epsilon * np.float32(GAIN)
            total += _recoloured(pixels, values)
        else:
            values *= epsilon / np.float32(255)
            total += values
    return total


def _recoloured(pixels: Pixels, shift: Floats) -> Floats:
    """What a shift of a* and b* (2, n, W) does to RGB."""
    planes = np.ascontiguousarray(np.moveaxis(pixels, 2, 0))
    light = LIGHT[planes]
    # L* stays, and Y with it: of a* = 500(f(X) − f(Y)) and b* = 200(f(Y) − f(Z)) only X and Z move.
    before = np.einsum("xc,chw->xhw", TO_XYZ[::2], light)
    moved = cube_root(before)
    moved[0] += shift[0] * np.float32(1 / 500)
    moved[1] -= shift[1] * np.float32(1 / 200)
    np.maximum(moved[1], 0, out=moved[1])
    moved = _cube(moved)
    moved -= before
    light += np.einsum("cx,xhw->chw", TO_RED_GREEN_BLUE[:, ::2], moved)
    encoded = _encoded(light)
    encoded -= SHADES[planes]
    return encoded


def _cube(roots: Floats) -> Floats:
    """The inverse of `cielab.cube_root`; a new array."""
    line = np.minimum(roots, BEND)
    line -= BEND
    line /= np.float32(7.787)
    root = np.maximum(roots, BEND)
    line += root * root * root
    return line


def _encoded(light: Floats) -> Floats:
    """Linear light as sRGB, which may leave [0, 1]; a new array."""
    line = np.minimum(light, KNEE)
    line -= KNEE
    line *= np.float32(12.92)
    curve = np.maximum(light, KNEE)
    np.power(curve, np.float32(1 / 2.4), out=curve)
    curve *= np.float32(1.055)
    curve -= np.float32(0.055)
    curve += line
    return curve
