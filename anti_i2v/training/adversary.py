"""An adversary who has generators of ours and subtracts what they would add: part of training, since every generator is public.

Near a photo, likeness falls along every residual that protects, so minus a generator's residual is a step back towards the person, whatever
the key. A generator that has met such steps in training learns residuals that are not undone by them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from anti_i2v.embedders import OBJECTIVE_EMBEDDERS
from anti_i2v.errors import UsageError
from anti_i2v.imaging.tensors import unit
from anti_i2v.inference.batches import Windows
from anti_i2v.keys import KEY_SIZE
from anti_i2v.objectives import IdentityObjective
from anti_i2v.protector import Protector
from anti_i2v.surrogates import Surrogate
from anti_i2v.training.feature_loss import resize_to
from anti_i2v.training.view import DrawnView

Repaint = Callable[[Tensor, list[int]], tuple[Tensor, Tensor]]
"""Photos (N, 3, H, W) and their numbers in the batch → what is seen of the clean photos, (N, 3, S, S), and what the video model's
autoencoder makes of the same part of these."""


def repainter(surrogate: Surrogate, clean: Tensor, look: DrawnView) -> Repaint:
    """What an adversary compares, with a surrogate's autoencoder; `clean` (B, 3, S, S) are the views `look` of the clean photos."""

    def repaint(photos: Tensor, rows: list[int]) -> tuple[Tensor, Tensor]:
        return clean[rows], surrogate.reconstruct(surrogate.condition(resize_to(surrogate, look(photos, rows))))

    return repaint


def mix_colours(mixed: Tensor, random: torch.Generator) -> Tensor:
    """For some photos (B,) a matrix that makes each colour channel a mean of red, green and blue with drawn weights, (B, 3, 3).

    From grey, where the weights are equal, to channels that are swapped, where one of them is 1; the identity for the other photos.
    """
    sharpness = 8 * torch.rand(len(mixed), 1, 1, generator=random)
    mixes = F.softmax(sharpness * torch.randn(len(mixed), 3, 3, generator=random), -1)
    return torch.where(mixed.view(-1, 1, 1), mixes, torch.eye(3))


class Inversion:
    """y − f · (G(x̂) − x̂) for a share of the photos y of a batch, with generators G of the adversary's and the one in training.

    x̂ is what the adversary takes for the clean photo: y itself, what earlier steps have made of it, or a picture between the two, which is
    as far as any number of steps may lead. Of several factors f that one counts which brings most of the person back.

    Args:
        generators: Folders, or names of shipped ones, that the adversary has besides the one in training; they stay as they are.
        share: Of the photos in each batch that are inverted, by each generator alike, in [0, 1].
        factor: Smallest and largest f, drawn for each photo.
        own: Whether the generator in training, with another key, is one of the adversary's.
        added: Share of factors with the other sign: the residual is added. Without it, training finds residuals that are the opposite of
            what these generators would add, and whoever protects the photo once more has the person back.
        independence: Weight in the loss of how alike the own residuals of photo and protected photo are.
        steps: Most steps, x̂ ← y − f (G(x̂) − x̂); each batch draws its number from 1.
        keys: Most keys whose mean residual is subtracted; each batch draws its number from 1.
        known: Share of the photos whose x̂ begins at a drawn place between y and the clean photo.
        recoloured: Share of the photos whose x̂ the generators see with its colours mixed at random, see `mix_colours`: a generator that
            knows protected photos by their colours takes such a photo for a clean one.
        tries: Factors for each photo.
        embedders: Objective embedders that choose among several factors, by how like the person the video model's autoencoder makes the
            photo; see `IdentityObjective`.

    Raises:
        UsageError: A value out of its range, nothing to invert with, or a generator or embedder that cannot be loaded.
    """

    def __init__(
        self,
        generators: Sequence[Path] = (),
        share: float = 0.5,
        factor: tuple[float, float] = (0.4, 1.8),
        own: bool = True,
        added: float = 0.4,
        independence: float = 1.0,
        steps: int = 1,
        keys: int = 1,
        known: float = 0.0,
        recoloured: float = 0.0,
        tries: int = 1,
        embedders: Sequence[str] = OBJECTIVE_EMBEDDERS,
    ) -> None:
        for name, value in (("share", share), ("known", known), ("recoloured", recoloured)):
            if not 0 <= value <= 1:
                raise UsageError(f"{name} is {value}; give a share of photos, from 0 to 1")
        for name, number in (("steps", steps), ("keys", keys), ("tries", tries)):
            if number < 1:
                raise UsageError(f"{name} is {number}; give a number from 1 on")
        if not 0 < factor[0] <= factor[1] <= 8:
            raise UsageError(f"factor {tuple(factor)} must be a smallest and a largest value within 0–8")
        if not generators and not own:
            raise UsageError("an inversion needs generators; name some, or set own: true")
        self.share, self.factor, self.own, self.added, self.independence = share, factor, own, added, independence
        self.steps, self.keys, self.tries = steps, keys, tries
        self.known, self.recoloured = known, recoloured
        self.judge = IdentityObjective(embedders) if tries > 1 else None
        self.foreign = [Protector.from_pretrained(folder, backend="torch") for folder in generators]
        for protector in self.foreign:
            protector.generator.requires_grad_(False).eval()

    def to(self, device: torch.device) -> None:
        """Move the adversary's networks."""
        for network in (*(protector.generator for protector in self.foreign), *((self.judge,) if self.judge else ())):
            network.to(device)

    def __call__(
        self,
        image: Tensor,
        protected: Tensor,
        epsilon: Tensor,
        windows: Windows,
        protector: Protector,
        random: torch.Generator,
        repaint: Repaint | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Protected photos, some of them inverted.

        Args:
            image: (B, 3, H, W) in [0, 1].
            protected: Its protected version, with a graph.
            epsilon: (B,) in 1/255 steps.
            windows: Of the photos; a residual does not move a face.
            protector: The one in training.
            random: Decides photos, factors and keys.
            repaint: See `Repaint`; needed for several `tries`.

        Returns:
            Photos of the same shape; the gradient passes as if a foreign generator subtracted a constant. And how alike the own residuals
            of photo and protected photo are, as far as they were computed: the mean of their squared cosine.
        """
        count = len(protected)
        draws = torch.rand(5, count, generator=random)
        factors = self._factors(count, random).to(protected)
        steps, keys = (int(torch.randint(1, most + 1, (), generator=random)) for most in (self.steps, self.keys))
        number = torch.where(draws[0] < self.share, (draws[1] * (len(self.foreign) + self.own)).long(), -1)
        place = torch.where(draws[2] < self.known, draws[3], 0).to(protected).view(-1, 1, 1, 1)
        begin = protected.detach() + place * (image - protected.detach())
        colours = mix_colours(draws[4] < self.recoloured, random).to(protected)
        change, alike = torch.zeros_like(protected), protected.new_zeros(())
        for i, adversary in enumerate([*self.foreign, *([protector] if self.own else [])]):
            rows = (number == i).nonzero()[:, 0].tolist()
            if not rows:
                continue
            own, photo, estimate = adversary is protector, protected[rows].detach(), begin[rows]
            budget, places = epsilon[rows], [windows[row] for row in rows]
            tried = torch.randn(keys, len(rows), KEY_SIZE, generator=random).to(protected)
            residual = torch.zeros_like(photo)
            for step in range(steps):
                if step:
                    estimate = (photo - factors[0, rows].abs() * residual.detach()).clamp(0, 1)
                # No matrix product, which autocast would run in reduced precision: it moves a photo more than a residual does.
                shown = (colours[rows][..., None, None] * estimate[:, None]).sum(2)
                with torch.set_grad_enabled(own and step == steps - 1 and torch.is_grad_enabled()):
                    residual = torch.stack([adversary(shown, budget, key, places) for key in tried]).mean(0) - shown
            if own:
                alike = F.cosine_similarity(residual.flatten(1), (protected - image)[rows].flatten(1)).square().mean()
            change = change.index_copy(0, torch.tensor(rows, device=change.device), residual)
        factor = self._best(factors, protected.detach(), change.detach(), (number >= 0).nonzero()[:, 0].tolist(), repaint)
        return unit(protected - factor * change), alike

    def _factors(self, count: int, random: torch.Generator) -> Tensor:
        """(tries, count, 1, 1, 1), some of them below 0."""
        size, sign = torch.rand(2, self.tries, count, 1, 1, 1, generator=random)
        size = self.factor[0] + (self.factor[1] - self.factor[0]) * size
        return torch.where(sign < self.added, -size, size)

    @torch.no_grad()
    def _best(self, factors: Tensor, photo: Tensor, residual: Tensor, rows: list[int], repaint: Repaint | None) -> Tensor:
        """Of the factors (tries, B, 1, 1, 1), for the photos in `rows` that which brings most of the person back: (B, 1, 1, 1)."""
        if self.judge is None or repaint is None or not rows:
            return factors[0]
        tried = (photo[rows] - factors[:, rows] * residual[rows]).clamp(0, 1)
        with torch.autocast(photo.device.type, enabled=False):  # reduced precision moves latents more than a residual does
            likeness = self.judge.similarity(*repaint(tried.flatten(0, 1).float(), rows * self.tries)).view(self.tries, -1)
        chosen = factors[0].clone()
        chosen[rows] = factors[:, rows][likeness.argmax(0), torch.arange(len(rows), device=chosen.device)]
        return chosen
