"""Photos of real people that say where their faces are: files of a folder with `landmarks.csv`, which is made where it is missing."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ImageOps
from torch import Tensor
from torch.utils.data import Dataset

from anti_i2v.data.base import PhotoBatch, PhotoSource, Sample, Split, read_prompts, worker_generator
from anti_i2v.data.resuming import map_loader
from anti_i2v.errors import UsageError, UsageWarning
from anti_i2v.imaging.detection import FaceDetector
from anti_i2v.imaging.landmarks import LANDMARKS, Faces, face_of, read_landmarks, write_landmarks
from anti_i2v.imaging.reading import PHOTO_SUFFIXES, read_photo
from anti_i2v.imaging.tensors import resize, to_tensor

MOST_FACES = 8
"""Faces of one photo that are used: the largest."""


class FacePhotos(PhotoSource):
    """Picture files of a folder and its subfolders that show faces, cut to squares around them.

    Faces come from `landmarks.csv` in the folder; files that it does not name are searched for faces once (`anti-i2v[faces]`), and the
    table is written anew. Photos without a face are left out, which a warning says. The folder may hold `train`, `validation` and `test`
    subfolders, which then are the splits, each with a table of its own: put each person into one of them. Otherwise, of the files by
    name, numbers 7, 15, 23, … are the test and 6, 22, 38, … validation.

    Args:
        folder: Folder with photos; in a config relative to that config.
        prompts_file: Text file, one prompt a line; common prompts by default.
        crop: Smallest side of the squares that training draws, as a share of the photo's shorter side; the largest is all of it. A square
            is larger where the face needs it.

    Raises:
        UsageError: There is no such folder, or `crop` is out of its range.
    """

    has_landmarks = True

    def __init__(self, folder: Path, prompts_file: Path | None = None, crop: float = 0.6) -> None:
        if not folder.is_dir():
            raise UsageError(f"no folder {str(folder)!r} with photos; a relative path in a config is relative to that config")
        if not 0 < crop <= 1:
            raise UsageError(f"crop is {crop}; give a share of the photo's shorter side above 0 and up to 1")
        self.folder, self.crop, self._prompts = folder, crop, read_prompts(prompts_file)

    @property
    def prompts(self) -> tuple[str, ...]:
        """The lines of the prompts file."""
        return self._prompts

    def photos(self, split: Split) -> list[tuple[Path, Faces]]:
        """The files of one split that show faces, by name, and their landmarks, the largest face first.

        Raises:
            UsageError: There are none, the table is damaged, or faces must be found and `anti-i2v[faces]` is not installed.
        """
        own = self.folder / split
        root = own if own.is_dir() else self.folder
        files = sorted(p for p in root.rglob("*") if p.suffix.lower() in PHOTO_SUFFIXES and p.is_file())
        if not files:
            raise UsageError(f"no photos for {split} in {root}; known types: {', '.join(sorted(PHOTO_SUFFIXES))}")
        table = find_faces(root, files)
        if root == self.folder:
            files = [path for i, path in enumerate(files) if split_of(i) == split]
        found = [(path, table.get(path.relative_to(root).as_posix(), [])[:MOST_FACES]) for path in files]
        with_face = [(path, faces) for path, faces in found if faces]
        if without := [path.name for path, faces in found if not faces]:
            text = f"{len(without)} of {len(found)} photos for {split} in {root} show no face and are left out, such as {without[0]}"
            warnings.warn(UsageWarning(f"{text}; remove them, or write their landmarks into {LANDMARKS}"), stacklevel=2)
        if not with_face:
            raise UsageError(f"none of the {len(found)} photos for {split} in {root} shows a face; give photos of people")
        return with_face

    def loader(self, split: Split, size: int, batch_size: int, workers: int, seed: int) -> Iterable[PhotoBatch]:
        """See `PhotoSource.loader`; batches have `faces`, `landmarks` and `identity`, the number of the photo in its split."""
        photos = self.photos(split)
        dataset = _FaceDataset(photos, self._prompts, size, self.crop, seed if split == "train" else None)
        return map_loader(dataset, split, min(batch_size, len(photos)), workers, seed)


def split_of(index: int) -> Split:
    """The split of the photo of a number by name, from 0: an eighth is the test, a sixteenth validation."""
    if index % 8 == 7:
        return "test"
    return "validation" if index % 16 == 6 else "train"


def find_faces(root: Path, files: list[Path]) -> dict[str, Faces]:
    """File, relative to a folder → its faces: from the folder's table, and by a detector for files that it does not name.

    What was found is kept in the table, also where the search is interrupted.

    Raises:
        UsageError: The table is damaged, or `anti-i2v[faces]` is not installed and there are files to search.
    """
    from tqdm import tqdm

    table = read_landmarks(root)
    missing = [path for path in files if path.relative_to(root).as_posix() not in table]
    if not missing:
        return table
    detector = FaceDetector()
    try:
        for path in tqdm(missing, desc="finding faces", unit="photo", leave=False):
            try:
                table[path.relative_to(root).as_posix()] = detector(ImageOps.exif_transpose(read_photo(path)))
            except UsageError as error:  # not kept: it may be mended
                warnings.warn(f"skipped: {error}", stacklevel=2)
    finally:
        write_landmarks(root, table)
    return table


class _FaceDataset(Dataset[Sample]):
    def __init__(self, photos: list[tuple[Path, Faces]], prompts: tuple[str, ...], size: int, crop: float, seed: int | None) -> None:
        self.photos, self.prompts, self.size, self.crop, self.seed = photos, prompts, size, crop, seed
        self.most = max(len(faces) for _, faces in photos)
        self.generator: torch.Generator | None = None

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> Sample:
        """A photo cut to a square; a file that cannot be read any more stops the run, because its landmarks say that it could."""
        if self.seed is not None and self.generator is None:
            self.generator = worker_generator(self.seed)  # here, because here the process is the worker
        path, faces = self.photos[index]
        photo = to_tensor(ImageOps.exif_transpose(read_photo(path)))
        choice = index if self.generator is None else int(torch.randint(1 << 30, (1,), generator=self.generator))
        first = 0 if self.generator is None else choice % len(faces)
        order = [faces[first], *faces[:first], *faces[first + 1 :]]
        top, left, side = square_around(order[0], photo.shape[-2], photo.shape[-1], self.crop, self.generator)
        image = resize(photo[None, :, top : top + side, left : left + side], self.size, self.size)[0].clamp(0, 1)
        points = [(points - (top, left)) * (self.size / side) for points in order]
        boxes, landmarks = face_tensors(points, self.size, self.most)
        prompt = self.prompts[choice % len(self.prompts)]
        return Sample(image=image, prompt=prompt, identity=index, faces=boxes, landmarks=landmarks)


def face_tensors(faces: Faces, size: int, rows: int) -> tuple[Tensor, Tensor]:
    """`faces` (rows, 3) and `landmarks` (rows, 5, 2) of a square photo; see `PhotoBatch`. Faces whose middle is outside are left out."""
    boxes, landmarks = torch.zeros(rows, 3), torch.full((rows, 5, 2), torch.nan)
    row = 0
    for points in faces:
        y, x, height = face_of(points)
        if 0 <= y < size and 0 <= x < size and height > 0:
            boxes[row], landmarks[row] = torch.tensor([y, x, height]), torch.from_numpy(points).float()
            row += 1
    return boxes, landmarks


def square_around(
    points: NDArray[np.float64], height: int, width: int, crop: float, generator: torch.Generator | None
) -> tuple[int, int, int]:
    """Top, left and side of a square within a photo that shows a face.

    Args:
        points: Landmarks (5, 2) of the face in pixels.
        height: Of the photo in pixels.
        width: Likewise.
        crop: Smallest side, as a share of the shorter one.
        generator: Draws the square; None takes the largest, with the face as near to its middle as the photo allows.
    """
    y, x, face = face_of(points)
    short = min(height, width)
    if generator is None:
        side, places = short, [0.5, 0.5]
    else:
        scale, *places = torch.rand(3, generator=generator).tolist()
        least = min(short, max(crop * short, 1.1 * face))
        side = max(1, round(least + (short - least) * scale))
    corner = []
    for centre, whole, place in zip((y, x), (height, width), places, strict=True):
        # The face's middle lies between half a face from one edge and half a face from the other, as far as there is room.
        margin = min(face / 2, side / 2)
        corner.append(min(max(0, round(centre - margin - place * (side - 2 * margin))), whole - side))
    return corner[0], corner[1], side
