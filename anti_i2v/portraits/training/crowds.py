"""Pictures for training the salience network: parts of photos with and without people, at the scales of the pyramid, made worse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from anti_i2v.errors import UsageError
from anti_i2v.evaluation.runner import as_jpeg
from anti_i2v.portraits.clips import PortraitClips
from anti_i2v.portraits.training import places
from anti_i2v.portraits.training.data import Endless
from anti_i2v.portraits.training.places import FacePhoto, below
from anti_i2v.pretraining.augment import recolour, soften

SIDES = (24, 32, 48, 64, 96, 128)
"""Shorter sides of the pictures in pixels; the smallest are seen whole in use and thus with all their edges."""

LONGEST = 1.8
"""Longer side of a picture over its shorter one, at most."""


class SalienceBatch(TypedDict):
    """`image` (B, 3, h, w) in [0, 1] and for each picture its faces (N, 3): centre y, centre x, height, in pixels."""

    image: Tensor
    faces: list[Tensor]


class SalienceData(LightningDataModule):
    """Pictures with the places of their faces; new photos replace the oldest of a bank.

    Args:
        pixels: Of all pictures of a batch together, about.
        most: Pictures of a batch at most.
        capacity: Photos the bank holds.
        start: Photos made before the first step.
        fresh: Photos made a step.
        real_faces: Folder of portraits of real people with their `landmarks.csv`, or None for rendered people alone.
        validation_faces: Portraits at the end of that folder that are only validated on.
        pictures: Folder of pictures without people to take backgrounds from, or None for drawn ones alone.
        validation_photos: Photos of the validation people, and half as many without anybody.
        seed: Of the draws.
    """

    def __init__(
        self,
        pixels: int = 250_000,
        most: int = 48,
        capacity: int = 2000,
        start: int = 400,
        fresh: float = 0.3,
        real_faces: Path | None = None,
        validation_faces: int = 50,
        pictures: Path | None = None,
        validation_photos: int = 32,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.pixels, self.most, self.capacity, self.start, self.fresh = pixels, most, capacity, start, fresh
        self.real_faces, self.validation_faces, self.pictures, self.seed = real_faces, validation_faces, pictures, seed
        self.validation_photos = validation_photos
        self.clips = PortraitClips("train", 1)
        self.random = torch.Generator().manual_seed(seed)
        self.bank: list[FacePhoto] = []
        self.portraits: list[FacePhoto] = []
        self.behind: list[Tensor] = []
        self.validation: list[SalienceBatch] = []
        self.made = 0

    def setup(self, stage: str) -> None:
        """Read what is given, make the photos to validate on and fill the bank, once."""
        from tqdm import tqdm

        if not self.validation:
            if self.pictures is not None:
                self.behind = places.read_pictures(self.pictures)
            held_out: list[FacePhoto] = []
            if self.real_faces is not None:
                portraits = places.real_portraits(self.real_faces)
                if len(portraits) <= self.validation_faces:
                    raise UsageError(
                        f"{self.real_faces} has {len(portraits)} portraits; give more than validation_faces, {self.validation_faces}"
                    )
                split = len(portraits) - self.validation_faces
                self.portraits, held_out = portraits[:split], portraits[split:]
            self._make_validation(held_out)
        if stage == "fit" and not self.bank:
            for _ in tqdm(range(min(self.start, self.capacity)), desc="making photos", unit="photo"):
                self.add()

    def _make_validation(self, held_out: list[FacePhoto]) -> None:
        random, clips = torch.Generator().manual_seed(self.seed + 1), PortraitClips("validation", 1)
        photos = [places.rendered_group(clips, random, None) for _ in range(self.validation_photos)]
        photos += [self._empty(random) for _ in range(self.validation_photos // 2)]
        photos += held_out
        self.validation = [{"image": photo.image[None].float() / 255, "faces": [photo.faces]} for photo in photos]

    def _empty(self, random: torch.Generator) -> FacePhoto:
        image = places.background(self.behind, random)
        return FacePhoto(places.to_bytes(image), torch.zeros(0, 3))

    def add(self) -> None:
        """Make one more photo: of six, two rendered, two of pasted portraits where there are some (else rendered), two of nobody."""
        kind = self.made % 6
        if kind >= 4:
            photo = self._empty(self.random)
        elif kind >= 2 and self.portraits:
            photo = places.pasted_portraits(self.portraits, places.background(self.behind, self.random), self.random)
        else:
            photo = places.rendered_group(self.clips, self.random, places.background(self.behind, self.random) if kind % 2 else None)
        if len(self.bank) < self.capacity:
            self.bank.append(photo)
        else:
            self.bank[self.made % self.capacity] = photo
        self.made += 1

    def training_batch(self) -> SalienceBatch:
        """Parts of photos of the bank and of the portraits, all of one size."""
        for _ in range(int(self.fresh) + (float(torch.rand((), generator=self.random)) < self.fresh % 1)):
            self.add()
        short = SIDES[below(len(SIDES), self.random)]
        long = short + below(round((LONGEST - 1) * short) + 1, self.random)
        height, width = (short, long) if below(2, self.random) else (long, short)
        count = max(4, min(self.most, self.pixels // (height * width)))
        views = []
        for _ in range(count):
            source = self.portraits if self.portraits and below(8, self.random) == 0 else self.bank
            views.append(places.view(source[below(len(source), self.random)], height, width, self.random))
        return {"image": worsen(torch.stack([image for image, _ in views]), self.random), "faces": [faces for _, faces in views]}

    def train_dataloader(self) -> DataLoader[SalienceBatch]:
        """Endless batches, made in the training process: the bank lives there."""
        return DataLoader(Endless(self._stream), batch_size=None)  # type: ignore[arg-type]

    def _stream(self) -> Iterator[SalienceBatch]:
        if self.trainer is not None and self.trainer.global_step:
            self.random.manual_seed(self.seed + 7919 * self.trainer.global_step)
        while True:
            yield self.training_batch()

    def val_dataloader(self) -> DataLoader[SalienceBatch]:
        """The same photos at every validation."""
        return DataLoader(self.validation, batch_size=None)  # type: ignore[arg-type]


def worsen(images: Tensor, random: torch.Generator) -> Tensor:
    """Half in other light and colours or softer, a fifth through JPEG: (N, 3, H, W) in [0, 1] → the same shape and range, in place."""
    which = torch.rand(len(images), generator=random) < 0.5
    images[which] = recolour(soften(images[which], random), random)
    for i in range(len(images)):
        if below(5, random) == 0:
            images[i] = as_jpeg(images[i : i + 1], 25 + below(70, random))[0]
    return images.clamp_(0, 1)
