"""Seeded draws for many people or scenes at once: one row of uniform numbers each, used column by column."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class SeededDraws:
    """Returns, one after the other, the columns of an (N, K) table of uniform numbers, so that every row depends on its own seed only.

    The order of the calls is part of what a seed means: add new draws at the end.
    """

    def __init__(self, seeds: Sequence[int], columns: int) -> None:
        rows = [torch.rand(columns, generator=torch.Generator().manual_seed(int(seed))) for seed in seeds]
        self.table = torch.stack(rows)
        self.next = 0

    def unit(self) -> Tensor:
        """(N,) uniform in [0, 1)."""
        column = self.table[:, self.next]
        self.next += 1
        return column

    def uniform(self, low: float, high: float) -> Tensor:
        """(N,) uniform in [low, high)."""
        return low + (high - low) * self.unit()

    def normal(self, sigma: float) -> Tensor:
        """(N,) normal with standard deviation `sigma`, cut at three of them, so that no face is implausible."""
        quantile: Tensor = torch.special.ndtri(self.unit().clamp(0.00135, 0.99865))
        return quantile * sigma

    def coin(self, probability: float) -> Tensor:
        """(N,) one with `probability`, else zero."""
        return (self.unit() < probability).float()

    def blend(self, palette: Tensor) -> Tensor:
        """(N, 3) a colour between two random neighbours of `palette` (P, 3)."""
        position = self.unit() * (len(palette) - 1)
        low = position.long().clamp(max=len(palette) - 2)
        return torch.lerp(palette[low], palette[low + 1], (position - low)[:, None])

    def tint(self, sigma: float) -> Tensor:
        """(N, 3) a small normal shift of each channel."""
        return torch.stack([self.normal(sigma) for _ in range(3)], 1)
