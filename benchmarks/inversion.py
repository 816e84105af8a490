"""The adversary who has a generator: they take its residual of the protected photo off again; part of `views` and `remover`.

An estimate of the clean photo x from the protected photo y is the fixed point of x ← y − f (G(x) − x), begun at x = y: one step is
y − f (G(y) − y). With a keyed generator the adversary has not the photo's key: they try others, keep the best, or subtract the mean.
A generator that does otherwise to protected photos than to clean ones may not know them in other colours (`RECOLOURED`).

Clips cost far more than estimates: all are ranked by how like the person the video model's autoencoder makes them (objective embedders),
and only the most like are animated. The best key, and the best estimate of each photo, are chosen by comparison with the clean photo. The
protected photo shows the person as well, so an adversary can choose nearly as well.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import torch
from torch import Tensor
from tqdm import tqdm

from anti_i2v.embedders import OBJECTIVE_EMBEDDERS
from anti_i2v.evaluation.report import Interval, Summary, interval, summarise
from anti_i2v.evaluation.runner import as_saved
from anti_i2v.imaging.metrics import mean_interval
from anti_i2v.imaging.tensors import resize, to_pil, to_tensor
from anti_i2v.inference.batches import Windows
from anti_i2v.keys import KEY_SIZE
from anti_i2v.objectives import IdentityObjective
from anti_i2v.protector import Protector
from anti_i2v.surrogates import Surrogate
from benchmarks.tables import cell as figure
from benchmarks.tables import grid, percent
from benchmarks.view_photos import subjects

if TYPE_CHECKING:
    from benchmarks.views import Animator

FACTORS = (-1.0, -0.5, 0.5, 1.0, 1.5, 2.0)
"""Below 0: whoever protects the photo once more; that would restore it if the generator did the opposite to a protected photo."""

STEPS = (1, 5, 20)
MEAN = 8  # keys whose mean residual is taken off in several steps; in one step it is that of all

RECOLOURED: dict[str, Callable[[Tensor], Tensor]] = {
    "red and green swapped": lambda photos: photos[:, [1, 0, 2]],
    "red and blue swapped": lambda photos: photos[:, [2, 1, 0]],
    "with all three turned": lambda photos: photos[:, [1, 2, 0]],
    "as a negative": lambda photos: 1 - photos,
    "in grey": lambda photos: photos.mean(1, keepdim=True).expand_as(photos),
}
"""Photos that a generator may not know for protected ones, so that it does to them what it does to clean photos."""

BEST = "best for each photo"  # whichever estimate is most like the person

Like = Callable[[Tensor], Tensor]
"""Photos (B, 3, H, W) → how like the persons their repainted versions are, (B,) in [-1, 1]."""


class Inverted(TypedDict):
    """What one adversary reaches: `likeness` of each estimate in the repainted photo, and `results` of the clips of the worst of them."""

    keys: int
    likeness: dict[str, Interval]
    results: Summary


class Likeness:
    """How like the persons the photos are that the video model's autoencoder makes of other photos; see `IdentityObjective`."""

    def __init__(self, surrogate: Surrogate, clean: Tensor, embedders: Sequence[str] = OBJECTIVE_EMBEDDERS, batch: int = 16) -> None:
        self.surrogate, self.batch, self.objective = surrogate, batch, IdentityObjective(embedders)
        self.clean = self.repaint(clean)

    @torch.no_grad()
    def repaint(self, photos: Tensor) -> Tensor:
        """Photos as the autoencoder reconstructs them: (B, 3, H, W) in [0, 1] → the same."""
        return torch.cat([self.surrogate.reconstruct(self.surrogate.condition(part)) for part in torch.split(photos, self.batch)])

    @torch.no_grad()
    def __call__(self, photos: Tensor) -> Tensor:
        """(B, 3, H, W) → (B,)."""
        return self.objective.similarity(self.clean, self.repaint(photos))


@dataclass(frozen=True)
class Adversary:
    """A generator as somebody runs it who has not the key.

    Attributes:
        epsilon: What they believe the budget to be, in 1/255.
        keys: (N, 32) that they try.
        windows: Of the photos; a residual does not move a face.
        steps: Numbers of steps that they try.
    """

    protector: Protector
    epsilon: float
    keys: Tensor
    windows: Windows
    steps: Sequence[int] = STEPS
    batch: int = 16

    @torch.no_grad()
    def residual(self, photos: Tensor, key: Tensor) -> Tensor:
        """What the generator adds to photos (B, 3, H, W) with one key (32,), or with one (B, 32) for each."""
        keys, parts = key.expand(len(photos), -1), []
        for first in range(0, len(photos), self.batch):
            rows = slice(first, first + self.batch)
            parts.append(self.protector(photos[rows], self.epsilon, keys[rows], self.windows[rows]) - photos[rows])
        return torch.cat(parts)

    def mean_residual(self, photos: Tensor) -> Tensor:
        """The mean over the first `MEAN` keys."""
        return torch.stack([self.residual(photos, key) for key in self.keys[:MEAN]]).mean(0)


def invert(photos: Tensor, residual: Callable[[Tensor], Tensor], factor: float, steps: Sequence[int]) -> dict[int, Tensor]:
    """Estimates of clean photos after some numbers of steps.

    Args:
        photos: (B, 3, H, W) in [0, 1], the protected photos y.
        residual: What the adversary's generator adds to photos: G(x) − x.
        factor: f.
        steps: Numbers of steps.

    Returns:
        Number → estimates, of the same shape.
    """
    estimate, estimates = photos, {}
    for step in range(1, max(steps) + 1):
        estimate = (photos - factor * residual(estimate)).clamp(0, 1)
        if step in steps:
            estimates[step] = estimate
    return estimates


def estimates(adversary: Adversary, photos: Tensor, like: Like) -> Iterator[tuple[str, Tensor]]:
    """All that an adversary tries: the name of an estimate, and the photos (B, 3, H, W)."""
    count = len(adversary.keys)
    words = "a wrong key, " if count > 1 else ""
    key, mean = adversary.keys[0], torch.zeros_like(photos)
    if count > 1:
        best, best_key, strength = torch.full((len(photos),), -torch.inf), key.expand(len(photos), -1).clone(), 0.0
        for tried in tqdm(adversary.keys, desc="keys", unit="key", mininterval=5.0):
            residual = adversary.residual(photos, tried)
            mean, strength = mean + residual / count, strength + float(residual.square().mean()) / count
            likeness = like((photos - residual).clamp(0, 1))
            better = likeness > best
            best, best_key[better] = torch.where(better, likeness, best), tried
        for factor in FACTORS:
            yield f"mean of {count} keys, factor {factor:g}", (photos - factor * mean).clamp(0, 1)
        # The mean over keys is weaker than each: an adversary takes off as much as a residual has.
        full = (strength / max(float(mean.square().mean()), 1e-12)) ** 0.5
        yield f"mean of {count} keys, at full strength", (photos - full * mean).clamp(0, 1)
    for factor in FACTORS:
        ways = {words: lambda estimate: adversary.residual(estimate, key)}
        if count > 1:
            ways[f"best of {count} keys, "] = lambda estimate: adversary.residual(estimate, best_key)
            ways[f"mean of {min(count, MEAN)} keys, "] = adversary.mean_residual
        for way, residual_of in ways.items():
            for step, estimate in invert(photos, residual_of, factor, adversary.steps).items():
                yield f"{way}factor {factor:g}, {step} step{'s' * (step > 1)}", estimate
    for words, recolour in RECOLOURED.items():
        residual = adversary.residual(recolour(photos), key)
        for factor in FACTORS:
            yield f"residual of the photo {words}, factor {factor:g}", (photos - factor * residual).clamp(0, 1)


def attack(adversary: Adversary, photos: Tensor, like: Like, worst: int, label: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Try all estimates, keep the worst few.

    Args:
        adversary: Who has a generator.
        photos: (B, 3, H, W), protected.
        like: See `Like`.
        worst: How many estimates to keep.
        label: Of the progress bar.

    Returns:
        Estimate → likeness (B,), of all, and estimate → photos (B, 3, H, W) of the worst: those most like the persons, `BEST` first.
    """
    likeness: dict[str, Tensor] = {}
    kept: dict[str, Tensor] = {}
    best, best_photos = torch.full((len(photos),), -torch.inf), photos.clone()
    for name, estimate in tqdm(estimates(adversary, photos, like), desc=label, unit="estimate", mininterval=5.0):
        likeness[name] = found = like(estimate)
        better = found > best
        best, best_photos[better] = torch.where(better, found, best), estimate[better]
        kept[name] = estimate
        ranked = sorted(kept, key=lambda one: -float(likeness[one].mean()))[:worst]
        kept = {one: kept[one] for one in ranked}
    return {BEST: best, **likeness}, {BEST: best_photos, **kept}


def wrong_keys(protector: Protector, count: int, seed: int = 1) -> Tensor:
    """Keys that an adversary tries, (N, 32); one where the generator's pattern does not depend on it."""
    keyed = bool(protector.generator.config().get("keyed", True))
    return torch.randn(max(1, count) if keyed else 1, KEY_SIZE, generator=torch.Generator().manual_seed(seed))


def try_generators(
    options: argparse.Namespace, animator: Animator, clean: Tensor, protected: Tensor, windows: Windows | None = None
) -> dict[str, Inverted]:
    """What somebody reaches with each generator of `options.adversary`.

    Args:
        options: `adversary`, `epsilon`, `wrong_keys`, `inversion_steps`, `animate`, `batch`.
        animator: Makes and judges the clips.
        clean: (B, 3, S, S) in [0, 1] at the video model's size.
        protected: Same shape.
        windows: Known ones; by default each generator finds its own.
    """
    like, rows, results = Likeness(animator.surrogate, clean, batch=options.batch), [*range(len(clean))], dict[str, Inverted]()
    for name in options.adversary:
        protector, label = Protector.from_pretrained(name, backend="torch"), _label(name, results)
        protector.generator.eval()
        keys, places = wrong_keys(protector, options.wrong_keys), windows or protector.find(protected)
        adversary = Adversary(protector, options.epsilon, keys, places, options.inversion_steps, options.batch)
        likeness, worst_few = attack(adversary, protected, like, options.animate, f"inversion by {label}")
        likeness = {"protected": like(protected), **likeness}
        measured = animator.measure(rows, {"clean": clean, "protected": protected, **worst_few}, f"inverted by {label}")
        shares = {estimate: interval(mean_interval(value)) for estimate, value in likeness.items()}
        results[label] = Inverted(keys=len(keys), likeness=shares, results=summarise([measured]))
    return results


def _label(name: str, taken: Mapping[str, object]) -> str:
    """The folder's name, or as much of its path as sets it apart from the others."""
    parts = Path(name).parts
    return next((label for n in range(1, len(parts) + 1) if (label := "/".join(parts[-n:])) not in taken), name)


def run(options: argparse.Namespace, protector: Protector, animator: Animator) -> dict[str, Inverted]:
    """`try_generators` on photos that a face fills, protected as files and seen whole."""
    clean, protected = [], []
    for subject in subjects("1", range(options.people), options.sizes, []):
        file = as_saved(to_tensor(protector.protect(to_pil(subject.image), options.epsilon, key="none"))[None])
        clean.append(resize(subject.image[None], animator.size, animator.size))
        protected.append(resize(file, animator.size, animator.size))
    return try_generators(options, animator, torch.cat(clean), torch.cat(protected))


def worst(of: Summary) -> tuple[str, Interval]:
    """The estimate with the least identity shift, and its shift."""
    shifts = {name: row["identity_shift"] for name, row in of.items() if name not in ("clean", "protected")}
    name = min(shifts, key=lambda key: shifts[key]["mean"] or 0.0)
    return name, shifts[name]


def lines(inverted: Mapping[str, Inverted]) -> list[str]:
    """The section of `views.md` and `remover.md`."""
    if not inverted:
        return []
    rows, tried = [], list[list[str]]()
    for name, of in inverted.items():
        for version, row in of["results"].items():
            likeness = figure(of["likeness"].get(version))
            rows += [[name, version, figure(row["identity_shift"]), percent(row["rank1"]), likeness]] if version != "clean" else []
        estimate, shift = worst(of["results"])
        rows.append([name, f"**worst: {estimate}**", figure(shift), "", ""])
        tried += [[name, estimate, figure(value)] for estimate, value in of["likeness"].items()]
    headings, like = ["adversary", "version", "identity shift", "rank-1 accuracy"], "likeness in the repainted photo"
    first, second = grid([*headings, like], rows, 2), grid(["adversary", "estimate", like], tried, 2)
    return ["## Inversion", "", first, "", "All that was tried:", "", second, ""]
