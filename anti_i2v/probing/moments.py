"""Sums over photos from which scores follow. Their size depends on the layer and not on how many photos there were."""

from __future__ import annotations

import torch
from torch import Tensor


class Moments:
    """Second moments of vectors at places, in float64.

    Args:
        dims: D, length of a vector.
    """

    def __init__(self, dims: int) -> None:
        self.photos = 0
        self._sums: Tensor | None = None  # (places, D)
        self._products = torch.zeros(dims, dims, dtype=torch.float64)

    def add(self, vectors: Tensor) -> None:
        """Count the vectors `(B, places, D)` of B photos; every call has the same places."""
        vectors = vectors.double()
        sums = vectors.sum(0)
        self._sums = sums if self._sums is None else self._sums + sums
        self._products = self._products.to(vectors.device) + torch.einsum("bpi,bpj->ij", vectors, vectors)
        self.photos += len(vectors)

    def within(self) -> Tensor:
        """Scatter around the mean of each place over the photos, `(D, D)`: what the place alone does not tell."""
        sums = self._place_sums()
        return self._products - sums.T @ sums / self.photos

    def total(self) -> Tensor:
        """Scatter around the mean of all, `(D, D)`."""
        sums = self._place_sums()
        mean = sums.sum(0)
        return self._products - torch.outer(mean, mean) / (self.photos * len(sums))

    def _place_sums(self) -> Tensor:
        if self._sums is None:
            raise RuntimeError("no photo was counted")
        return self._sums


class Groups:
    """Scatter within and between groups of vectors that come one group after the other, in float64.

    Args:
        dims: D, length of a vector.
    """

    def __init__(self, dims: int) -> None:
        self.photos, self.groups = 0, 0
        self._label: int | None = None
        self._count = 0
        self._sum, self._all = torch.zeros(dims, dtype=torch.float64), torch.zeros(dims, dtype=torch.float64)
        self._products = torch.zeros(dims, dims, dtype=torch.float64)
        self._means = torch.zeros(dims, dims, dtype=torch.float64)  # Σ over finished groups of sum ⊗ sum / count

    def add(self, vector: Tensor, label: int) -> None:
        """Count a vector `(D,)`; a new label ends the group before."""
        if label != self._label:
            self._means = self._mean_products()
            self._label, self._count, self._sum = label, 0, torch.zeros_like(self._sum)
            self.groups += 1
        vector = vector.double().cpu()
        self._count, self.photos = self._count + 1, self.photos + 1
        self._sum, self._all = self._sum + vector, self._all + vector
        self._products = self._products + torch.outer(vector, vector)

    def _mean_products(self) -> Tensor:
        """Σ over all groups, the current one included, of sum ⊗ sum / count."""
        return self._means + torch.outer(self._sum, self._sum) / max(self._count, 1)

    def within(self) -> Tensor:
        """Σ (v − mean of its group) ⊗ itself, `(D, D)`."""
        return self._products - self._mean_products()

    def between(self) -> Tensor:
        """Σ over groups of count · (mean of the group − mean of all) ⊗ itself, `(D, D)`."""
        return self._mean_products() - torch.outer(self._all, self._all) / max(self.photos, 1)
