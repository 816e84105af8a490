"""Perturbation spaces: how a residual is made of few numbers that mean the same at every photo size.

Each space is one file that holds it twice: differentiable in torch, for training and tensors, and in NumPy, for photos of
bytes. A new space is such a file, its test and its row in `SPACES`. Only a differentiable residual needs torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from anti_i2v.spaces.base import Space
from anti_i2v.spaces.frequency import FrequencySpace
from anti_i2v.spaces.lab import LabSpace
from anti_i2v.spaces.rgb import RgbSpace

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["SPACES", "FrequencySpace", "LabSpace", "RgbSpace", "Space", "sum_residuals"]

SPACES: Mapping[str, Space] = MappingProxyType({"lab": LabSpace(), "frequency": FrequencySpace(), "rgb": RgbSpace()})
"""What the keys of a generator's output mean."""


def sum_residuals(image: Tensor, parameters: Mapping[str, Tensor], epsilon: Tensor) -> Tensor:
    """The sum of the spaces' residuals, before the budget.

    Args:
        image: (B, 3, H, W) in [0, 1], sRGB.
        parameters: By space, as a generator gives them; see `Space.residual`.
        epsilon: (B,) in 1/255 steps.

    Returns:
        (B, 3, H, W) float32, [0, 1] units; differentiable in photo and parameters.
    """
    import torch

    total = torch.zeros_like(image, dtype=torch.float32)
    for name, values in parameters.items():
        total = total + SPACES[name].residual(image, values, epsilon)
    return total
