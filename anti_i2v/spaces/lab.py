"""The chroma space: an a*/b* field that leaves lightness L* alone (eyes and video models weigh the two differently)."""

from __future__ import annotations

import kornia.color
import torch
from torch import Tensor

from anti_i2v.epsilon import GAIN
from anti_i2v.spaces.base import Space, painted


class LabSpace(Space):
    """RGB residual from a (B, 2, h, w) field of a* and b*.

    The field is interpolated (bicubic) to the photo's size and added to its a* and b* as ε·GAIN·field; the residual is
    what this does to RGB. It may leave the RGB cube: bounding it is the budget's business, and clipping here would
    stop the gradient.
    """

    channels = 2

    def residual(self, image: Tensor, parameters: Tensor, epsilon: Tensor, top: int = 0, height: int | None = None) -> Tensor:
        """See `Space.residual`; parameters (B, 2, h, w). A zero field gives zero up to kornia's round trip (5e-7)."""
        field = painted(parameters, image, top, height)
        # Below half precision a matrix product inside kornia's conversion alone costs more than the budget.
        with torch.autocast(image.device.type, enabled=False):
            shift = epsilon.float().view(-1, 1, 1, 1) * GAIN * field
            lab = kornia.color.rgb_to_lab(image.float())
            moved = torch.cat((lab[:, :1], lab[:, 1:] + shift), dim=1)
            rgb: Tensor = kornia.color.lab_to_rgb(moved, clip=False)
            return rgb - image.float()


def recoloured(image: Tensor, other: Tensor) -> Tensor:
    """Pictures with the lightness of one and the chroma of another, which may leave the RGB cube.

    Args:
        image: (B, 3, H, W), about [0, 1], whose L* is taken.
        other: Same shape, whose a* and b* are taken.

    Returns:
        (B, 3, H, W) float32.
    """
    with torch.autocast(image.device.type, enabled=False):
        lightness, chroma = kornia.color.rgb_to_lab(image.float())[:, :1], kornia.color.rgb_to_lab(other.float())[:, 1:]
        rgb: Tensor = kornia.color.lab_to_rgb(torch.cat((lightness, chroma), dim=1), clip=False)
        return rgb
