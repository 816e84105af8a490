"""An adversary who has generators of ours and subtracts what they would add: part of training, since every generator is public.

Near a photo, likeness falls along every residual that protects, so minus a generator's residual is a step back towards the person, whatever
the key. A generator that has met such steps in training learns residuals that are not undone by them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.imaging.tensors import unit
from anti_i2v.inference.batches import Windows
from anti_i2v.keys import KEY_SIZE
from anti_i2v.protector import Protector


class Inversion:
    """y − f · (G(y) − y) for a share of the photos of a batch, with generators G of the adversary's and the one in training.

    Args:
        generators: Folders, or names of shipped ones, that the adversary has besides the one in training; they stay as they are.
        share: Of the photos in each batch that are inverted, by each generator alike, in [0, 1].
        factor: Smallest and largest f, drawn for each photo.
        own: Whether the generator in training, with another key, is one of the adversary's.
        added: Share of those for which the residual is added instead. Without it, training finds residuals that are the opposite of what
            these generators would add, and whoever protects the photo once more has the person back.
        independence: Weight in the loss of how alike the own residuals of photo and protected photo are.

    Raises:
        UsageError: A share or factor out of its range, nothing to invert with, or a generator that cannot be loaded.
    """

    def __init__(
        self,
        generators: Sequence[Path] = (),
        share: float = 0.5,
        factor: tuple[float, float] = (0.4, 1.8),
        own: bool = True,
        added: float = 0.4,
        independence: float = 1.0,
    ) -> None:
        if not 0 <= share <= 1:
            raise UsageError(f"share is {share}; give the share of photos that are inverted, from 0 to 1")
        if not 0 < factor[0] <= factor[1] <= 8:
            raise UsageError(f"factor {tuple(factor)} must be a smallest and a largest value within 0–8")
        if not generators and not own:
            raise UsageError("an inversion needs generators; name some, or set own: true")
        self.share, self.factor, self.own = share, factor, own
        self.added, self.independence = added, independence
        self.foreign = [Protector.from_pretrained(folder, backend="torch") for folder in generators]
        for protector in self.foreign:
            protector.generator.requires_grad_(False).eval()

    def to(self, device: torch.device) -> None:
        """Move the adversary's generators."""
        for protector in self.foreign:
            protector.generator.to(device)

    def __call__(
        self, image: Tensor, protected: Tensor, epsilon: Tensor, windows: Windows, protector: Protector, random: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Protected photos, some of them inverted.

        Args:
            image: (B, 3, H, W) in [0, 1].
            protected: Its protected version, with a graph.
            epsilon: (B,) in 1/255 steps.
            windows: Of the photos; a residual does not move a face.
            protector: The one in training.
            random: Decides photos, factors and keys.

        Returns:
            Photos of the same shape; the gradient passes as if a foreign generator subtracted a constant. And how alike the own residuals
            of photo and protected photo are, as far as they were computed: the mean of their squared cosine.
        """
        count = len(protected)
        draws = torch.rand(4, count, generator=random)
        keys = torch.randn(count, KEY_SIZE, generator=random).to(protected)
        factor = self.factor[0] + (self.factor[1] - self.factor[0]) * draws[1]
        factor = torch.where(draws[3] < self.added, -factor, factor).to(protected)
        number = torch.where(draws[0] < self.share, (draws[2] * (len(self.foreign) + self.own)).long(), -1)
        change, alike = torch.zeros_like(protected), protected.new_zeros(())
        for i, adversary in enumerate([*self.foreign, *([protector] if self.own else [])]):
            rows = (number == i).nonzero()[:, 0].tolist()
            if not rows:
                continue
            photo, own = protected[rows].detach(), adversary is protector
            with torch.set_grad_enabled(own and torch.is_grad_enabled()):
                residual = adversary(photo, epsilon[rows], keys[rows], [windows[row] for row in rows]) - photo
            if own:
                alike = F.cosine_similarity(residual.flatten(1), (protected - image)[rows].flatten(1)).square().mean()
            change = change.index_copy(0, torch.tensor(rows, device=change.device), residual)
        return unit(protected - factor.view(-1, 1, 1, 1) * change), alike
