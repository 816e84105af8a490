"""The chroma space: an a*/b* field that leaves lightness L* alone (eyes and video models weigh the two differently)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from anti_i2v.imaging.cielab import TO_XYZ, WHITE, Floats, cube_root, linear
from anti_i2v.spaces.base import Space

if TYPE_CHECKING:
    from torch import Tensor

# a*/b* units that move the most changed RGB channel by one 8-bit step. Measured on four photographs (scikit-image's
# astronaut, coffee, chelsea, rocket; 160 × 160, random hue directions, shifts of 4 units): the median pixel moves by
# 1.59–1.73 steps a unit (10–90 %: 1.1–3.3, most in saturated blues); 1 / 1.66 = 0.6.
GAIN = 0.6

SHADES = np.arange(256, dtype=np.float32) / np.float32(255)
LIGHT = linear(SHADES)
# XYZ → linear sRGB, with X and Z in units of their white.
FROM_XYZ = WHITE * np.array(
    [
        [3.2404813432005266, -1.5371515162713185, -0.4985363261688878],
        [-0.9692549499965682, 1.8759900014898907, 0.0415559265582928],
        [0.0556466391351772, -0.2040413383665112, 1.0573110696453443],
    ],
    np.float32,
)
KNEE, BEND = np.float32(0.0031308), np.float32(0.2068966)  # of sRGB and of the cube, below which they are lines


class LabSpace(Space):
    """RGB residual from a (B, 2, h, w) field of a* and b*.

    The field is interpolated (bicubic) to the photo's size and added to its a* and b* as ε·GAIN·field; the residual is
    what this does to RGB. It may leave the RGB cube: bounding it is the budget's business, and clipping here would
    stop the gradient.
    """

    channels = 2

    def from_field(self, image: Tensor, field: Tensor, epsilon: Tensor) -> Tensor:
        """See `Space.from_field`; field (B, 2, H, W). A zero field gives zero up to kornia's round trip (5e-7)."""
        import kornia.color
        import torch

        # Below half precision a matrix product inside kornia's conversion alone costs more than the budget.
        with torch.autocast(image.device.type, enabled=False):
            shift = epsilon.float().view(-1, 1, 1, 1) * GAIN * field
            lab = kornia.color.rgb_to_lab(image.float())
            shifted = torch.cat((lab[:, :1], lab[:, 1:] + shift), dim=1)
            rgb: Tensor = kornia.color.lab_to_rgb(shifted, clip=False)
            return rgb - image.float()

    def apply(self, pixels: npt.NDArray[np.uint8], values: Floats, epsilon: np.float32) -> Floats:
        """See `Space.apply`; values (2, n, W) of a* and b*."""
        values *= epsilon * np.float32(GAIN)
        planes = np.ascontiguousarray(np.moveaxis(pixels, 2, 0))
        light = LIGHT[planes]
        # L* stays, and Y with it: of a* = 500(f(X) − f(Y)) and b* = 200(f(Y) − f(Z)) only X and Z change.
        before = np.einsum("xc,chw->xhw", TO_XYZ[::2], light)
        roots = cube_root(before)
        roots[0] += values[0] * np.float32(1 / 500)
        roots[1] -= values[1] * np.float32(1 / 200)
        np.maximum(roots[1], 0, out=roots[1])
        change = _cube(roots)
        change -= before
        light += np.einsum("cx,xhw->chw", FROM_XYZ[:, ::2], change)
        encoded = _encode(light)
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


def _encode(light: Floats) -> Floats:
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


def recolour(image: Tensor, other: Tensor) -> Tensor:
    """Pictures with the lightness of one and the chroma of another, which may leave the RGB cube.

    Args:
        image: (B, 3, H, W), about [0, 1], whose L* is taken.
        other: Same shape, whose a* and b* are taken.

    Returns:
        (B, 3, H, W) float32.
    """
    import kornia.color
    import torch

    with torch.autocast(image.device.type, enabled=False):
        lightness, chroma = kornia.color.rgb_to_lab(image.float())[:, :1], kornia.color.rgb_to_lab(other.float())[:, 1:]
        rgb: Tensor = kornia.color.lab_to_rgb(torch.cat((lightness, chroma), dim=1), clip=False)
        return rgb
