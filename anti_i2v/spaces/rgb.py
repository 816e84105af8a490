"""The plain space: a field of red, green and blue. What published attacks on video models perturb."""

from __future__ import annotations

from torch import Tensor

from anti_i2v.spaces.base import Space, painted


class RgbSpace(Space):
    """RGB residual from a (B, 3, h, w) field: ε/255 times the field, interpolated (bicubic) to the photo's size."""

    channels = 3

    def residual(self, image: Tensor, parameters: Tensor, epsilon: Tensor, top: int = 0, height: int | None = None) -> Tensor:
        """See `Space.residual`; parameters (B, 3, h, w). Only the shape of `image` matters."""
        return epsilon.float().view(-1, 1, 1, 1) / 255 * painted(parameters, image, top, height)
