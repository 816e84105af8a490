"""The contract of photo sources, and what sources of real photos share: cropping, prompts, batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NotRequired, TypedDict

import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import default_collate, get_worker_info

from anti_i2v.errors import UsageError
from anti_i2v.imaging.tensors import resize, to_tensor

Split = Literal["train", "validation", "test"]

PROMPTS = ("a person talks to the camera", "a person smiles", "a person nods", "a person turns the head to the left")
"""Prompts of photos that come without one; a prompts file replaces them."""


class Sample(TypedDict):
    """One photo: `image` (3, S, S) in [0, 1], `prompt` the words that animate it; see `PhotoBatch` for the rest."""

    image: Tensor
    prompt: str
    identity: NotRequired[int]
    video: NotRequired[Tensor]
    faces: NotRequired[Tensor]
    landmarks: NotRequired[Tensor]


class PhotoBatch(TypedDict):
    """What every loader gives: `image` (B, 3, S, S) in [0, 1], `prompt` a list of B strings.

    `identity` (B,) int64 is the person's index in the split, that of the photo where each shows another person; sources that do not know
    who is in a photo leave it out. `video` (B, T, 3, S, S) in [0, 1] is a clip that begins with the photo, from sources that have some.
    `faces` (B, N, 3) are the centre's y and x and the height of each face in pixels, zeros in rows that a photo does not need; the first
    is that of `identity`. `landmarks` (B, N, 5, 2) are the same faces' eyes, nose and corners of the mouth, y and x in pixels from the top
    left corner, left before right as in the picture; NaN in the rows that a photo does not need.
    """

    image: Tensor
    prompt: list[str]
    identity: NotRequired[Tensor]
    video: NotRequired[Tensor]
    faces: NotRequired[Tensor]
    landmarks: NotRequired[Tensor]


class PhotoSource(ABC):
    """Photos of people, split so that no person in training is in validation or test."""

    has_landmarks = False
    """Whether batches have `landmarks`."""

    @property
    @abstractmethod
    def prompts(self) -> tuple[str, ...]:
        """Every prompt that can occur: all are encoded once, then the text encoder is dropped."""

    @abstractmethod
    def loader(self, split: Split, size: int, batch_size: int, workers: int, seed: int) -> Iterable[PhotoBatch]:
        """Batches of one split.

        Args:
            split: `train` is shuffled and augmented, the others are the same at every call.
            size: S, height and width of the photos in pixels.
            batch_size: Photos a batch.
            workers: Loading processes; 0 loads in the training process.
            seed: Decides order, crops and prompts of `train`.
        """

    def references(self, split: Split, people: Sequence[int], height: int, width: int) -> Iterable[Tensor] | None:
        """Clips of the same people in other scenes, as references for a judge; None where a source has none.

        Args:
            split: Whose `identity` the numbers are.
            people: `identity` of each person.
            height: H in pixels.
            width: W in pixels.

        Returns:
            For each person (scenes, T, 3, H, W) in [0, 1], made when the iterator reaches it.
        """
        return None


def collate(samples: Sequence[Sample]) -> PhotoBatch:
    """Stack samples to a batch; it has identities, clips, faces or landmarks if all of them have."""
    batch = PhotoBatch(image=default_collate([s["image"] for s in samples]), prompt=[s["prompt"] for s in samples])
    identities = [s["identity"] for s in samples if "identity" in s]
    if len(identities) == len(samples):
        batch["identity"] = torch.tensor(identities)
    clips = [s["video"] for s in samples if "video" in s]
    if len(clips) == len(samples):
        batch["video"] = torch.stack(clips)
    faces = [s["faces"] for s in samples if "faces" in s]
    if len(faces) == len(samples):
        batch["faces"] = torch.stack(faces)
    landmarks = [s["landmarks"] for s in samples if "landmarks" in s]
    if len(landmarks) == len(samples):
        batch["landmarks"] = torch.stack(landmarks)
    return batch


def worker_generator(seed: int) -> torch.Generator:
    """A generator of this loading process: torch gives each worker its own seed, another one each epoch."""
    worker = get_worker_info()
    return torch.Generator().manual_seed(seed if worker is None else worker.seed)


def square(photo: Image.Image, size: int, generator: torch.Generator | None) -> Tensor:
    """Cut a square from a photo and scale it.

    Args:
        photo: Any size and mode.
        size: S, side of the result in pixels.
        generator: Draws a crop of 60–100 % of the shorter side; None takes the largest square in the middle.

    Returns:
        (3, S, S) in [0, 1]. A photo smaller than S is scaled up.
    """
    image = to_tensor(ImageOps.exif_transpose(photo))  # people upright, as any video tool shows them
    height, width = image.shape[-2:]
    side, top, left = min(height, width), (height - min(height, width)) // 2, (width - min(height, width)) // 2
    if generator is not None:
        scale, y, x = torch.rand(3, generator=generator).tolist()
        side = max(1, round(side * (0.6 + 0.4 * scale)))
        top, left = int(y * (height - side + 1)), int(x * (width - side + 1))
    return resize(image[None, :, top : top + side, left : left + side], size, size)[0].clamp(0, 1)


def read_prompts(file: Path | None) -> tuple[str, ...]:
    """The prompts of a text file, one a line; without a file those of `PROMPTS`.

    Raises:
        UsageError: The file is missing or has no prompt.
    """
    if file is None:
        return PROMPTS
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the prompts file {file}: {error}; give a UTF-8 text file, one prompt a line") from error
    prompts = tuple(dict.fromkeys(line for line in lines if line))
    if not prompts:
        raise UsageError(f"the prompts file {file} has no prompt; write one a line")
    return prompts
