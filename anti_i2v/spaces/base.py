"""What every perturbation space promises, and the one operation they share: a separable expansion to any size.

In NumPy, sums of products are by `einsum` and not `@`: how a library for linear algebra rounds depends on the number of threads and on the
processor, and a photo has one protection.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from anti_i2v.imaging.cielab import Floats

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Field:
    """Parameters of a space at the size of a photo, as a separable expansion that is carried out for some rows at a time.

    Attributes:
        values: (C, H, w), expanded to the photo's rows already.
        columns: (w, W), what each pixel column takes from each of `values`.
    """

    values: Floats
    columns: Floats

    def rows(self, top: int, stop: int) -> Floats:
        """Rows `top … stop` of the field: (C, stop − top, W), a new array."""
        expanded: Floats = np.einsum("chk,kw->chw", self.values[:, top:stop], self.columns)
        return expanded


class Space:
    """Turns parameters of a fixed, small shape into a residual of the photo's shape.

    A space is linear in neither photo nor parameters as far as callers know, and holds no weights. What `expand` and `from_field` do in
    torch, `field` and `apply` do in NumPy, equal but for rounding. Between the two steps fields of several windows can be blended.

    Attributes:
        channels: Planes of its parameters; 1 in each stands for about one epsilon of RGB change.
    """

    channels: int

    def residual(self, image: Tensor, parameters: Tensor, epsilon: Tensor) -> Tensor:
        """The residual of a batch; the budget is not its business, epsilon only sets the scale.

        Args:
            image: (B, 3, H, W) in [0, 1], sRGB.
            parameters: (B, channels, h, w).
            epsilon: (B,) in 1/255 steps.

        Returns:
            (B, 3, H, W) float32 whatever autocast says, [0, 1] units; differentiable in photo and parameters.
        """
        return self.from_field(image, self.expand(parameters, *image.shape[-2:]), epsilon)

    def expand(self, parameters: Tensor, height: int, width: int) -> Tensor:
        """`field` in torch: parameters (B, channels, h, w) at a size, (B, channels, height, width) float32."""
        return interpolate(parameters, height, width)

    def from_field(self, image: Tensor, field: Tensor, epsilon: Tensor) -> Tensor:
        """`apply` in torch: a field (B, channels, H, W) as the residual of a photo; see `residual`. By default ε/255 times the field."""
        return scale(epsilon) * field

    def basis(self, size: int, count: int) -> Floats:
        """What each of `size` pixels along an axis takes from each of `count` parameters: (size, count); bicubic by default."""
        return bicubic(size, count)

    def field(self, parameters: Floats, height: int, width: int) -> Field:
        """Parameters (channels, h, w) at the size of a photo of so many pixels."""
        rows, columns = self.basis(height, parameters.shape[1]), self.basis(width, parameters.shape[2])
        return Field(np.einsum("hk,ckw->chw", rows, parameters), np.ascontiguousarray(columns.T))

    def apply(self, pixels: npt.NDArray[np.uint8], values: Floats, epsilon: np.float32) -> Floats:
        """The residual of some rows of a photo; by default ε/255 times the field.

        Args:
            pixels: (n, W, 3) sRGB bytes.
            values: (channels, n, W), the rows of the field; they are overwritten.
            epsilon: In 1/255 steps.

        Returns:
            (3, n, W), [0, 1] units.
        """
        values *= epsilon / np.float32(255)
        return values


def bicubic(size: int, count: int) -> Floats:
    """The (size, count) matrix of bicubic interpolation, antialiased downwards; rows sum to 1. `interpolation` in NumPy."""
    return np.asarray(Image.fromarray(np.eye(count, dtype=np.float32)).resize((count, size), Image.Resampling.BICUBIC))


def interpolation(count: int, size: int, device: torch.device | None = None) -> Tensor:
    """The (size, count) matrix of bicubic interpolation from `count` samples to `size` pixels, antialiased downwards."""
    import torch
    import torch.nn.functional as F

    impulses = torch.eye(count, device=device)[None, None]
    return F.interpolate(impulses, (size, count), mode="bicubic", antialias=True, align_corners=False)[0, 0]


def interpolate(parameters: Tensor, height: int, width: int) -> Tensor:
    """A field at the size of a photo, by bicubic interpolation; a field of that very size stays as it is.

    Args:
        parameters: (B, C, h, w).
        height: Of the photo, in pixels.
        width: Likewise.

    Returns:
        (B, C, height, width) float32.
    """
    if parameters.shape[-2:] == (height, width):  # the matrices would be the identity, and as large as the photo is wide
        return parameters.float()
    rows, columns = (interpolation(n, size, parameters.device) for n, size in zip(parameters.shape[-2:], (height, width), strict=True))
    return product(parameters, rows, columns)


def product(parameters: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Compute rows · parameters · columnsᵀ in fp32: every separable expansion (interpolation, cosine basis).

    Args:
        parameters: (B, C, h, w).
        rows: (H, h), what each output row takes from each parameter row.
        columns: (W, w), the same for columns.

    Returns:
        (B, C, H, W) float32.
    """
    import torch

    with torch.autocast(parameters.device.type, enabled=False):
        return rows @ parameters.float() @ columns.T


def scale(epsilon: Tensor) -> Tensor:
    """Epsilon (B,) in 1/255 steps → (B, 1, 1, 1) in [0, 1] units."""
    return epsilon.float().view(-1, 1, 1, 1) / 255
