"""The sums over photos that are kept for each layer at each step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from anti_i2v.probing.grid import PARTS, cover, project, projection, split
from anti_i2v.probing.moments import Groups, Moments
from anti_i2v.probing.scores import coherence, person_share, probe_r2, spectrum

T = TypeVar("T")

DIMS = 64
"""Dimensions that features are projected to before their moments are taken."""


@dataclass(frozen=True)
class Photos:
    """A batch: `image` (B, 3, H, W) in [0, 1], B `prompts`; where known masks (B, 1, H, W) in [0, 1] and `identity` (B,).

    The photos of a person follow each other, also from batch to batch.
    """

    image: Tensor
    prompts: list[str]
    person_mask: Tensor | None = None
    face_mask: Tensor | None = None
    identity: Tensor | None = None


class LayerSums:
    """Sums from which the figures of one layer at one step follow.

    Args:
        seed: Of the projection.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.dims = 0
        self.places: dict[tuple[str, int], Moments] = {}
        self.people: dict[tuple[str, int], Groups] = {}
        self.coherence: dict[str, list[float]] = {}
        self._matrix: Tensor | None = None
        self._folds: tuple[int | None, int] = (None, 1)  # the last person, and the half of the people they belong to

    def add(self, maps: Tensor, photos: Photos) -> None:
        """Count the features `(B, C, frames, h, w)` of a batch."""
        if not self.dims:
            self._matrix = projection(maps.shape[1], DIMS, self.seed)
            self.dims = min(maps.shape[1], DIMS)
        halves = self._halves(photos)
        for name, part in split(project(maps, self._matrix)).items():
            count, total = self.coherence.get(name, [0, 0.0])
            self.coherence[name] = [count + len(part), total + float(coherence(part).sum())]
            subject = part.new_zeros(len(part), 1, *part.shape[2:]) if photos.person_mask is None else cover(photos.person_mask, part)
            vectors = torch.cat([part, subject], 1).flatten(2).transpose(1, 2)
            face = torch.ones_like(subject) if photos.face_mask is None else cover(photos.face_mask, part)
            mean = (part * face).flatten(2).sum(2) / face.flatten(2).sum(2).clamp_min(1e-6)
            for half in set(halves):
                mine = [i for i, other in enumerate(halves) if other == half]
                self.places.setdefault((name, half), Moments(self.dims + 1)).add(vectors[mine])
                for i in mine if photos.identity is not None else ():
                    self.people.setdefault((name, half), Groups(self.dims)).add(mean[i], int(photos.identity[i]))  # type: ignore[index]

    def _halves(self, photos: Photos) -> list[int]:
        """For each photo whether its person belongs to the even or the odd half; without identities photos take turns."""
        halves = []
        for label in range(len(photos.image)) if photos.identity is None else photos.identity.tolist():
            last, half = self._folds
            if photos.identity is None or label != last:
                half = 1 - half
            self._folds = (label, half)
            halves.append(half)
        return halves

    def figures(self) -> dict[str, float]:
        """Column → figure; NaN where truth is not known."""
        figures = {}
        for name in PARTS:
            halves = [self.places[name, half] for half in (0, 1) if (name, half) in self.places]
            if not halves:
                continue
            people = [self.people[name, half] for half in (0, 1) if (name, half) in self.people]
            figures[f"subject_{name}"] = _cross_validate(probe_r2, halves)
            figures[f"person_{name}"] = _cross_validate(person_share, people)
            total = sum((half.total() for half in halves[1:]), halves[0].total())
            figures[f"top3_{name}"], figures[f"rank_{name}"] = spectrum(total[:-1, :-1])
            figures[f"coherence_{name}"] = self.coherence[name][1] / self.coherence[name][0]
        return figures


def _cross_validate(score: Callable[[T, T], float], halves: Sequence[T]) -> float:
    """Two-fold cross-validation: the mean of scoring each half by what was fitted to the other."""
    return (score(halves[0], halves[1]) + score(halves[1], halves[0])) / 2 if len(halves) == 2 else float("nan")
