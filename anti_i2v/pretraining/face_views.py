"""Views of real faces, one photo a person: parts of it in other places, sizes, turns, and before other backgrounds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import torch
from lightning.pytorch import LightningDataModule
from PIL import ImageOps
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

from anti_i2v.data import FacePhotos
from anti_i2v.data.base import Split
from anti_i2v.errors import UsageError
from anti_i2v.imaging.reading import read_photo
from anti_i2v.imaging.tensors import to_tensor
from anti_i2v.pretraining.augment import uniform, worsen

SPLITS: tuple[Split, Split] = ("train", "validation")
FaceBatch: TypeAlias = dict[str, Tensor]

BANK = 160
"""Side of the upright squares that are kept, in pixels: six times as far as the mouth lies below the eyes."""


class FaceViewData(LightningDataModule):
    """Two views each of many faces, for telling people apart by what no view changes: the face.

    Clothes, hair and background of a photo are the same in all its views, and easier to tell apart than faces. So the face is cut
    closely, and around it is another photo in `swapped` of the views.

    Args:
        folder: Photos with `landmarks.csv`, see `anti_i2v.data.FacePhotos`, which also says which of them are whose split.
        batch_people: People in a batch, two views each.
        faceless: Pictures in a batch that are made faceless.
        size: Height and width of a view in pixels.
        swapped: Share of the views with another photo around the face.
        seed: Of the draws.
    """

    def __init__(
        self, folder: Path, batch_people: int = 48, faceless: int = 16, size: int = 80, swapped: float = 0.6, seed: int = 0
    ) -> None:
        super().__init__()
        self.folder, self.batch_people, self.faceless, self.size = folder, batch_people, faceless, size
        self.swapped, self.seed = swapped, seed
        self.random = torch.Generator().manual_seed(seed)
        self.bank = torch.empty(0)
        self.validation: list[FaceBatch] = []

    def setup(self, stage: str) -> None:
        """Read the photos of training, and make views of those of validation, once."""
        if len(self.bank):
            return
        self.bank, held_out = (read_faces(self.folder, split) for split in SPLITS)
        if len(self.bank) < self.batch_people:
            raise UsageError(f"{self.folder} has {len(self.bank)} faces for training; give more, or lower batch_people {self.batch_people}")
        random = torch.Generator().manual_seed(self.seed + 1)
        rows = torch.arange(len(held_out)).repeat_interleave(4)
        views = look(held_out, rows, self.size, self.swapped, random)
        views[::4, :3] = worsen(views[::4, :3], random)  # the others are what it is recognised by
        self.validation = [{"scenes": views.view(len(held_out), 4, 1, 4, self.size, self.size)}]

    def training_batch(self) -> FaceBatch:
        """{"pairs": (B, 2, 4, S, S), "others": (N, 4, S, S)} in [0, 1]; the fourth channel is the face.

        A batch to validate on is {"scenes": (N, 4, 1, 4, S, S)}: N people in four views.
        """
        people = torch.randperm(len(self.bank), generator=self.random)[: self.batch_people]
        pairs = look(self.bank, people.repeat_interleave(2), self.size, self.swapped, self.random)
        rows = torch.randint(len(self.bank), (self.faceless,), generator=self.random)
        others = look(self.bank, rows, self.size, 0.0, self.random)
        return {"pairs": pairs.view(self.batch_people, 2, 4, self.size, self.size), "others": others}

    def train_dataloader(self) -> DataLoader[FaceBatch]:
        """Endless batches, made in the training process: the photos are kept there."""
        return DataLoader(_Stream(self), batch_size=None)

    def val_dataloader(self) -> DataLoader[FaceBatch]:
        """The same views at every validation."""
        return DataLoader(self.validation, batch_size=None)  # type: ignore[arg-type]


class _Stream(IterableDataset[FaceBatch]):
    def __init__(self, data: FaceViewData) -> None:
        self.data = data

    def __iter__(self) -> Iterator[FaceBatch]:
        data = self.data
        if data.trainer is not None and data.trainer.global_step:  # a resumed run goes on with other draws
            data.random.manual_seed(data.seed + 7919 * data.trainer.global_step)
        while True:
            yield data.training_batch()


def upright(photo: Tensor, landmarks: Tensor, side: int = BANK) -> Tensor:
    """A square around a face, turned so that the mouth is straight below the eyes.

    Args:
        photo: (3, H, W) in [0, 1].
        landmarks: (5, 2) y, x in pixels: eyes, nose, corners of the mouth.
        side: S, height and width of the result in pixels.

    Returns:
        (3, S, S) in [0, 1]; eyes and mouth are S / 6 apart, their middle is the middle.
    """
    eyes, mouth = landmarks[:2].mean(0), landmarks[3:].mean(0)
    (down_y, down_x), (centre_y, centre_x) = (mouth - eyes).tolist(), ((eyes + mouth) / 2).tolist()
    height, width = photo.shape[-2:]
    # Unit steps of the result's grid, half of its side, in pixels of the photo: three times the distance of eyes and mouth.
    theta = torch.tensor(
        [
            [3 * down_y * 2 / width, 3 * down_x * 2 / width, 2 * (centre_x) / width - 1],
            [-3 * down_x * 2 / height, 3 * down_y * 2 / height, 2 * (centre_y) / height - 1],
        ]
    )
    grid = F.affine_grid(theta[None], [1, 3, 2 * side, 2 * side], align_corners=False)
    return F.avg_pool2d(F.grid_sample(photo[None], grid, padding_mode="border", align_corners=False), 2)[0]


def look(bank: Tensor, rows: Tensor, size: int, swapped: float, random: torch.Generator) -> Tensor:
    """Views of faces: moved, turned by up to 15°, narrower as if the head were turned, before another photo where it is drawn.

    Args:
        bank: (N, 3, S, S) uint8, see `upright`.
        rows: (B,) whose views.
        size: Height and width of the views in pixels.
        swapped: Share of the views with another photo around the face.
        random: Source of all draws.

    Returns:
        (B, 4, size, size) in [0, 1]; the fourth channel is the face.
    """
    n = len(rows)
    behind = rows[torch.randperm(n, generator=random)]
    y, x = torch.meshgrid(*[torch.linspace(-3, 3, bank.shape[-1])] * 2, indexing="ij")  # eyes and mouth are one apart
    ellipse = (((x / 1.15) ** 2 + ((y - 0.05) / 1.45) ** 2) < 1).float().expand(n, 1, -1, -1)
    views = _warp(torch.cat([bank[rows].float() / 255, ellipse], 1), size, random)
    others = _warp(bank[behind].float() / 255, size, random)
    face = F.avg_pool2d(views[:, 3:], 5, 1, 2, count_include_pad=False)  # a soft edge
    swap = (torch.rand(n, 1, 1, 1, generator=random) < swapped).float()
    return torch.cat([views[:, :3] * (1 - swap * (1 - face)) + others * swap * (1 - face), views[:, 3:]], 1)


def _warp(pictures: Tensor, size: int, random: torch.Generator) -> Tensor:
    n = len(pictures)
    half = uniform(0.4, 0.65, (n,), random, pictures)
    narrow = uniform(1.0, 1.25, (n,), random, pictures)
    angle = uniform(-15.0, 15.0, (n,), random, pictures) * (math.pi / 180.0)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = half * narrow * angle.cos(), half * angle.cos()
    theta[:, 0, 1], theta[:, 1, 0] = -half * angle.sin(), half * narrow * angle.sin()
    theta[:, :, 2] = uniform(-0.09, 0.09, (n, 2), random, pictures)
    grid = F.affine_grid(theta, [n, pictures.shape[1], size, size], align_corners=False)
    return F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)


def read_faces(folder: Path, split: Split) -> Tensor:
    """Upright faces (N, 3, S, S) uint8 of one split of a folder of photos, the largest face of each."""
    faces = []
    for file, found in FacePhotos(folder).photos(split):
        photo = to_tensor(ImageOps.exif_transpose(read_photo(file)))
        faces.append((upright(photo, torch.from_numpy(found[0]).float()) * 255).round().to(torch.uint8))
    return torch.stack(faces)
