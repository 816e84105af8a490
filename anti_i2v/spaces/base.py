"""What every perturbation space promises, and the one operation they share: a separable expansion to any size."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Space(nn.Module, ABC):
    """Turns parameters of a fixed, small shape into a residual of the photo's shape.

    A space is linear in neither photo nor parameters as far as callers know; it is differentiable in both, runs in
    fp32 whatever autocast says, and holds no weights.

    Attributes:
        channels: Planes of its parameters.
    """

    channels: int

    @abstractmethod
    def residual(self, image: Tensor, parameters: Tensor, epsilon: Tensor, top: int = 0, height: int | None = None) -> Tensor:
        """Express parameters as a residual; the budget is not its business, epsilon only sets the scale.

        Args:
            image: (B, 3, H, W) in [0, 1], sRGB; or the rows `top … top + H` of a photo that is `height` tall, so
                that a large photo can be done in strips.
            parameters: (B, channels, h, w); 1 stands for about one epsilon of RGB change.
            epsilon: (B,) in 1/255 steps.
            top: First row of `image` within the photo.
            height: Rows of the whole photo; those of `image` by default.

        Returns:
            (B, 3, H, W) float32, [0, 1] units.
        """


def expand(parameters: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Compute rows · parameters · columnsᵀ in fp32: every separable expansion (interpolation, cosine basis).

    Args:
        parameters: (B, C, h, w).
        rows: (H, h), what each output row takes from each parameter row.
        columns: (W, w), the same for columns.

    Returns:
        (B, C, H, W) float32.
    """
    with torch.autocast(parameters.device.type, enabled=False):
        return rows @ parameters.float() @ columns.T


def interpolation(count: int, size: int, device: torch.device | None = None) -> Tensor:
    """The (size, count) matrix of bicubic interpolation from `count` samples to `size` pixels, antialiased downwards."""
    impulses = torch.eye(count, device=device)[None, None]
    return F.interpolate(impulses, (size, count), mode="bicubic", antialias=True, align_corners=False)[0, 0]


def painted(parameters: Tensor, image: Tensor, top: int = 0, height: int | None = None) -> Tensor:
    """A field at the size of a photo, by bicubic interpolation; a field of that very size is left as it is.

    Args:
        parameters: (B, C, h, w).
        image: (B, 3, H, W), only its shape matters; see `Space.residual` for strips.
        top: First row of `image` within the photo.
        height: Rows of the whole photo; those of `image` by default.

    Returns:
        (B, C, H, W) float32.
    """
    strip, width = image.shape[-2:]
    whole = height or strip
    if parameters.shape[-2:] == (whole, width):  # the matrices would be the identity, and as large as the photo is wide
        return parameters[..., top : top + strip, :].float()
    rows = interpolation(parameters.shape[-2], whole, parameters.device)[top : top + strip]
    return expand(parameters, rows, interpolation(parameters.shape[-1], width, parameters.device))
