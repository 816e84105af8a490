"""An adversary who has generators of ours and subtracts what they would add: part of training, since every generator is public.

Near a photo, likeness falls along every residual that protects, so minus a generator's residual is a step back towards the person, whatever
the key. A generator that has met such steps in training learns residuals that are not undone by them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.imaging.tensors import unit
from anti_i2v.inference.batches import Windows
from anti_i2v.protector import Protector


class Inversion:
    """y − f · (G(y) − y) for a share of the photos of a batch, with generators G of the adversary's and the one in training.

    Args:
        generators: Folders, or names of shipped ones, that the adversary has besides the one in training; they stay as they are.
        share: Of the photos in each batch that are inverted, by each generator alike, in [0, 1].
        factor: Smallest and largest f, drawn for each photo.
        own: Whether the generator in training, with another key, is one of the adversary's.

    Raises:
        UsageError: A share or factor out of its range, nothing to invert with, or a generator that cannot be loaded.
    """

    def __init__(
        self, generators: Sequence[Path] = (), share: float = 0.5, factor: tuple[float, float] = (0.4, 1.8), own: bool = True
    ) -> None:
        if not 0 <= share <= 1:
            raise UsageError(f"share is {share}; give the share of photos that are inverted, from 0 to 1")
        if not 0 < factor[0] <= factor[1] <= 8:
            raise UsageError(f"factor {tuple(factor)} must be a smallest and a largest value within 0–8")
        if not generators and not own:
            raise UsageError("an inversion needs generators; name some, or set own: true")
        self.share, self.factor, self.own = share, factor, own
        self.foreign = [Protector.from_pretrained(folder, backend="torch") for folder in generators]
        for protector in self.foreign:
            protector.generator.requires_grad_(False).eval()

    def to(self, device: torch.device) -> None:
        """Move the adversary's generators."""
        for protector in self.foreign:
            protector.generator.to(device)

    def __call__(self, protected: Tensor, epsilon: Tensor, windows: Windows, protector: Protector, random: torch.Generator) -> Tensor:
        """Protected photos, some of them inverted.

        Args:
            protected: (B, 3, H, W) in [0, 1], with a graph.
            epsilon: (B,) in 1/255 steps.
            windows: Of the photos; a residual does not move a face.
            protector: The one in training.
            random: Decides photos, factors and keys.

        Returns:
            Same shape. The gradient passes as if the adversary subtracted a constant: a residual is to withstand, not to mislead, them.
        """
        count = len(protected)
        draws = torch.rand(3, count, generator=random)
        keys = torch.randn(count, 32, generator=random)
        pool = [*self.foreign, *([protector] if self.own else [])]
        factor = self.factor[0] + (self.factor[1] - self.factor[0]) * draws[1]
        change = torch.zeros_like(protected)
        for number, adversary in enumerate(pool):
            chosen = (draws[0] < self.share) & ((draws[2] * len(pool)).long() == number)
            rows = chosen.nonzero()[:, 0].tolist()
            if not rows:
                continue
            photo = protected[rows].detach()
            key, bound = keys[rows].to(photo), epsilon[rows]
            with torch.no_grad():
                residual = adversary(photo, bound, key, [windows[row] for row in rows]) - photo
            change[rows] = factor[rows].view(-1, 1, 1, 1).to(photo) * residual
        return unit(protected - change)
