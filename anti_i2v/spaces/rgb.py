"""The plain space: a field of red, green and blue. What published attacks on video models perturb."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anti_i2v.spaces.base import Space, interpolate, scale

if TYPE_CHECKING:
    from torch import Tensor


class RgbSpace(Space):
    """RGB residual from a (B, 3, h, w) field: ε/255 times the field, interpolated (bicubic) to the photo's size."""

    channels = 3

    def residual(self, image: Tensor, parameters: Tensor, epsilon: Tensor) -> Tensor:
        """See `Space.residual`; parameters (B, 3, h, w). Only the shape of `image` matters."""
        return scale(epsilon) * interpolate(parameters, *image.shape[-2:])
