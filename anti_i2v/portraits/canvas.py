"""Soft-edged shapes: the few drawing operations that the portrait renderer needs.

A shape is a signed distance in half picture heights, turned into coverage over about one pixel. Coverage ends at exactly zero,
so thin shapes (lips, lids) cannot leak faint lines across the picture.
"""

from __future__ import annotations

import torch
from torch import Tensor


def cover(distance: Tensor, edge: Tensor | float) -> Tensor:
    """Signed distance, negative inside, and the width of the soft edge → coverage in [0, 1]."""
    return (0.5 - distance / edge).clamp_(0, 1)


def paint(image: Tensor, coverage: Tensor, colour: Tensor) -> None:
    """Lay `colour` over `image` in place where `coverage` is; the colour axis is the first one.

    Args:
        image: (3, …).
        coverage: (…) in [0, 1].
        colour: (3, …), broadcast against the image.
    """
    image += coverage * (colour - image)


def ellipse(x: Tensor, y: Tensor, rx: Tensor | float, ry: Tensor | float) -> Tensor:
    """Distance to an axis-parallel ellipse at the origin, to first order. For round shapes; thin ones are a `lens`."""
    u, v = x / rx, y / ry
    k = torch.sqrt(u * u + v * v + 1e-9)
    slope = torch.sqrt((u / rx) ** 2 + (v / ry) ** 2 + 1e-9)
    return k * (k - 1) / slope


def lens(x: Tensor, y: Tensor, rx: Tensor, ry: Tensor) -> Tensor:
    """Distance to the area between two parabolas that meet at (±rx, 0): lips, lids and brows.

    The first-order distance of a thin ellipse is far too small beyond its tips, which would draw a line through the face.
    """
    return torch.maximum(y.abs() - ry * (1 - (x / rx) ** 2), x.abs() - rx)


def box(x: Tensor, y: Tensor, rx: Tensor, ry: Tensor | float, power: Tensor | float) -> Tensor:
    """Distance to |x/rx|^p + |y/ry|^p = 1 (superellipse) along the ray from the centre; p = 2 is an ellipse, large p a rectangle."""
    u, v = (x / rx).abs().clamp(min=1e-3), (y / ry).abs().clamp(min=1e-3)
    root = (u**power + v**power) ** (1 / power)
    return torch.sqrt(x * x + y * y) * (1 - 1 / root)
