"""How an adversary trains a remover: pairs of photos and protected photos with random keys, as many as they like; for `remover`."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from anti_i2v.embedders import Embedder
from anti_i2v.errors import UsageError
from anti_i2v.inference.batches import Windows
from anti_i2v.inference.windows import Window, window_around
from anti_i2v.keys import KEY_SIZE
from anti_i2v.portraits import GroupPhotos, PortraitClips
from anti_i2v.protector import Protector
from benchmarks.remover_network import SCALE, Remover
from benchmarks.view_photos import face_box

EPSILON = (4.0, 12.0)
"""Budgets of the pairs in 1/255 steps: the adversary does not know a photo's."""


@dataclass(frozen=True)
class Faces:
    """Photos with one face each.

    Attributes:
        images: (P, 3, S, S) uint8.
        windows: Where the generator paints.
    """

    images: Tensor
    windows: Windows

    def batch(self, rows: Sequence[int], mirrored: Sequence[bool]) -> tuple[Tensor, list[list[Window]]]:
        """Some photos (B, 3, S, S) in [0, 1] and their windows, some of them mirrored."""
        images, windows, side = self.images[list(rows)].float() / 255, [], self.images.shape[-1]
        for place, (row, mirror) in enumerate(zip(rows, mirrored, strict=True)):
            of = list(self.windows[row])
            if mirror:
                images[place] = images[place].flip(-1)
                of = [replace(window, left=side - window.left - window.side) for window in of]
            windows.append(of)
        return images, windows


@torch.no_grad()
def windows_of(protector: Protector, images: Tensor, faces: Sequence[tuple[float, float, float]] | None, batch: int = 32) -> Windows:
    """The windows that a generator finds in photos (P, 3, H, W) in [0, 1], or those around known `faces` (y, x, height)."""
    if faces is not None:
        return [[window_around(*face)] for face in faces]
    return [windows for part in torch.split(images, batch) for windows in protector.find(part)]


def draw_faces(protector: Protector, photos: int, size: int, seed: int, known: bool) -> Faces:
    """Photos of training people: half of them portraits as the video model's, half of them single people before any background.

    Args:
        protector: Finds the windows.
        photos: P.
        size: S in pixels.
        seed: Decides which.
        known: Put windows around the rendered faces, instead of where the generator finds some.

    Raises:
        UsageError: The generator finds nobody.
    """
    clips = PortraitClips("train", 1, size, size)
    numbers = torch.randperm(len(clips), generator=torch.Generator().manual_seed(seed))[: (photos + 1) // 2].tolist()
    images: list[Tensor] = []
    faces: list[tuple[float, float, float]] = []
    with tqdm(total=photos, desc="photos of the remover", unit="photo", mininterval=5.0) as progress:
        for first in range(0, len(numbers), 24):
            drawn = clips.batch(numbers[first : first + 24])
            images += [*drawn.video[:, 0]]
            faces += [face_box(mask) for mask in drawn.face_mask[:, 0, 0]]
            progress.update(len(drawn.video))
        rest = photos - len(images)
        source = GroupPhotos(people=(1, 1), face=(0.5, 0.9), kept=max(1, rest))
        for batch in source.loader("train", size, min(24, max(1, rest)), 0, seed):
            images += [*batch["image"]][: photos - len(images)]
            faces += [(float(y), float(x), float(tall)) for y, x, tall in batch["faces"][:, 0].tolist()]
            progress.update(len(batch["image"]))
    stacked = torch.stack(images)
    windows = windows_of(protector, stacked, faces[: len(images)] if known else None)
    seen = [row for row, of in enumerate(windows) if of]
    if not seen:
        raise UsageError(f"the generator finds nobody in {len(images)} photos; train its salience network first, or give --known-faces")
    return Faces((255 * stacked[seen]).round().byte(), [windows[row] for row in seen])


@dataclass(frozen=True)
class Plan:
    """How a remover is trained.

    Attributes:
        minutes: Processor time.
        most_steps: Ends earlier after so many; 0 for no such end.
        batch: Photos a step.
        rate: Learning rate after the first steps; it falls to nothing by half a cosine.
        squared: Mean square of the error instead of its mean size.
        likeness: Weight of how unlike the person of the cleaned photo is, by `embedder`.
    """

    minutes: float
    most_steps: int = 0
    batch: int = 8
    rate: float = 2e-3
    squared: bool = True
    likeness: float = 0.0
    seed: int = 0


def train(protector: Protector, faces: Faces, plan: Plan, width: int, embedder: Embedder | None) -> tuple[Remover, dict[str, object]]:
    """Train a remover on one thread.

    Returns:
        It, in evaluation mode, and how it went: steps, processor and wall seconds, and twenty points of `left`: the share of the residual's
        energy that is left of photos it is trained on.
    """
    threads, random = torch.get_num_threads(), torch.Generator().manual_seed(plan.seed)
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        remover = Remover(width).train()
    optimiser = torch.optim.AdamW(remover.parameters(), plan.rate, weight_decay=1e-4)
    begin, wall, done, steps = time.process_time(), time.perf_counter(), 0.0, 0
    energies: list[tuple[float, float, float]] = []
    with tqdm(total=100, desc="remover", unit="%", mininterval=5.0) as progress:
        while done < 1:
            for group in optimiser.param_groups:
                group["lr"] = plan.rate * min(1.0, (steps + 1) / 50) * (0.5 + 0.5 * math.cos(math.pi * done))
            before, after = _step(protector, faces, plan, remover, optimiser, embedder, random)
            steps += 1
            energies.append((done, before, after))
            done = max((time.process_time() - begin) / 60 / plan.minutes, steps / plan.most_steps if plan.most_steps else 0.0)
            progress.update(min(100, int(100 * done)) - progress.n)
            progress.set_postfix(left=f"{_left(energies[-50:]):.3f}", steps=steps, refresh=False)
    torch.set_num_threads(threads)
    curve = [_left([e for e in energies if part <= 20 * e[0] < part + 1]) for part in range(20)]
    facts: dict[str, object] = {"steps": steps, "processor_seconds": round(time.process_time() - begin, 1)}
    facts |= {"wall_seconds": round(time.perf_counter() - wall, 1), "photos": len(faces.windows)}
    facts |= {"weights": sum(value.numel() for value in remover.parameters())}
    return remover.eval(), {**facts, "left": [None if math.isnan(value) else round(value, 4) for value in curve]}


def _left(energies: Sequence[tuple[float, float, float]]) -> float:
    total = sum(before for _, before, _ in energies)
    return sum(after for *_, after in energies) / total if total else math.nan


def _step(
    protector: Protector,
    faces: Faces,
    plan: Plan,
    remover: Remover,
    optimiser: torch.optim.Optimizer,
    embedder: Embedder | None,
    random: torch.Generator,
) -> tuple[float, float]:
    """One step; returns the energy of the residuals before and after removal."""
    rows = torch.randint(len(faces.windows), (plan.batch,), generator=random).tolist()
    mirrored = (torch.rand(plan.batch, generator=random) < 0.5).tolist()
    keys = torch.randn(plan.batch, KEY_SIZE, generator=random)
    epsilon = EPSILON[0] + (EPSILON[1] - EPSILON[0]) * torch.rand(plan.batch, generator=random)
    image, windows = faces.batch(rows, mirrored)
    with torch.no_grad():
        protected = protector(image, epsilon, keys, windows)
        residual = (protected - image) / SCALE
    seen = remover(protected) / SCALE
    loss = F.mse_loss(seen, residual) if plan.squared else F.l1_loss(seen, residual)
    if plan.likeness and embedder is not None:
        cleaned = (protected - SCALE * seen).clamp(0, 1)
        with torch.no_grad():
            person, _ = embedder.embed(embedder.resize(image))
        loss = loss + plan.likeness * (1 - (embedder.embed(embedder.resize(cleaned))[0] * person).sum(1)).mean()
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(remover.parameters(), 1.0)
    optimiser.step()
    return float(residual.square().sum()), float((residual - seen.detach()).square().sum())
