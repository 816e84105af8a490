"""Rendered portraits as training, validation and test photos."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from anti_i2v.data.base import PhotoBatch, PhotoSource, Sample, Split
from anti_i2v.data.resuming import map_loader
from anti_i2v.errors import UsageError
from anti_i2v.portraits.actions import ACTIONS
from anti_i2v.portraits.clips import PortraitClips
from anti_i2v.portraits.groups import MOST, GroupRequest, compose
from anti_i2v.portraits.references import reference_clips

FINEST = 64  # see `figures.FINEST`: a video model that learns or is attacked here sees faces of about a hundred pixels


class PortraitPhotos(PhotoSource):
    """First frames of the Portraits' clips, rendered when asked for; each comes with its clip's prompt.

    Args:
        people: How many validation and test people to use, each once; none of them is in the training split.
        num_frames: Length of the clip that comes with each photo of `train`, as a reference for the noise; 1 for none.
    """

    def __init__(self, people: int = 64, num_frames: int = 1) -> None:
        if people < 1:
            raise UsageError(f"people is {people}; give at least 1")
        if num_frames < 1:
            raise UsageError(f"num_frames is {num_frames}; give the surrogate's, or 1 for photos alone")
        self.people, self.num_frames = people, num_frames

    @property
    def prompts(self) -> tuple[str, ...]:
        """The prompts of all actions."""
        return tuple(prompt for action in ACTIONS for prompt in action.prompts)

    def loader(self, split: Split, size: int, batch_size: int, workers: int, seed: int) -> Iterable[PhotoBatch]:
        """See `PhotoSource.loader`."""
        dataset = _PortraitDataset(split, size, None, self.num_frames) if split == "train" else _PortraitDataset(split, size, self.people)
        return map_loader(dataset, split, batch_size, workers, seed)

    def references(self, split: Split, people: Sequence[int], height: int, width: int) -> Iterable[Tensor]:
        """See `PhotoSource.references`: the same person in other clothes, light and poses."""
        return reference_clips(split, people, height, width)


class GroupPhotos(PhotoSource):
    """Photos with one or several rendered people of all sizes, anywhere in the frame, before walls, clouds, patterns and landscapes.

    `identity` and the prompt are those of the first person, whose face is `faces[0]`; see `PhotoBatch.faces`.

    Args:
        people: Fewest and most people in a photo; where one finds no place beside the others, the photo has fewer.
        face: Smallest and largest height of a face, as a share of the photo's side.
        photos: How many validation and test photos to use, each with another first person; nobody is in the training split too.

    Raises:
        UsageError: A range that is empty or outside of what can be composed.
    """

    def __init__(self, people: tuple[int, int] = (1, 4), face: tuple[float, float] = (0.12, 0.9), photos: int = 64) -> None:
        if not 1 <= people[0] <= people[1] <= MOST:
            raise UsageError(f"people is {people}; give the fewest and the most in a photo, from 1 to {MOST}")
        if not 0 < face[0] <= face[1] <= 0.95:
            raise UsageError(f"face is {face}; give the smallest and the largest height as shares of the photo's side, up to 0.95")
        if photos < 1:
            raise UsageError(f"photos is {photos}; give at least 1")
        self.people, self.face, self.photos = people, face, photos

    @property
    def prompts(self) -> tuple[str, ...]:
        """The prompts of all actions."""
        return tuple(prompt for action in ACTIONS for prompt in action.prompts)

    def loader(self, split: Split, size: int, batch_size: int, workers: int, seed: int) -> Iterable[PhotoBatch]:
        """See `PhotoSource.loader`."""
        dataset = _GroupDataset(split, size, None if split == "train" else self.photos, self.people, self.face)
        return map_loader(dataset, split, batch_size, workers, seed)

    def references(self, split: Split, people: Sequence[int], height: int, width: int) -> Iterable[Tensor]:
        """See `PhotoSource.references`: the same person in other clothes, light and poses."""
        return reference_clips(split, people, height, width)


class _GroupDataset(Dataset[Sample]):
    def __init__(self, split: Split, size: int, photos: int | None, people: tuple[int, int], face: tuple[float, float]) -> None:
        self.clips, self.size, self.people, self.face = PortraitClips(split, 1, 8, 8), size, people, face
        self.length = len(self.clips) if photos is None else min(photos, self.clips.people)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Sample]:
        """People of one size are rendered together, which is cheaper than one by one."""
        photos = compose(self.clips, [self._request(index) for index in indices], FINEST)
        samples = []
        for index, photo in zip(indices, photos, strict=True):
            faces = torch.zeros(MOST, 3)
            faces[: len(photo.faces)] = photo.faces
            samples.append(Sample(image=photo.image, prompt=photo.prompts[0], identity=index % self.clips.people, faces=faces))
        return samples

    def _request(self, index: int) -> GroupRequest:
        """The photo with this index: its first person is in the scene of the clip with this index, the others are anybody."""
        random = torch.Generator().manual_seed(self.clips.first * 1009 + index * 7 + 900_000_000)
        fewest, most = self.people
        count = int(torch.randint(fewest, most + 1, (1,), generator=random))
        others = torch.randint(len(self.clips), (count - 1,), generator=random).tolist()
        low, high = (math.log(share) for share in self.face)
        faces = torch.empty(count).uniform_(low, high, generator=random).exp().clamp(*self.face).tolist()
        return GroupRequest([index, *others], faces, self.size, self.size, index)


class _PortraitDataset(Dataset[Sample]):
    def __init__(self, split: Split, size: int, people: int | None, num_frames: int = 1) -> None:
        self.clips = PortraitClips(split, num_frames=num_frames, height=size, width=size)
        self.length = len(self.clips) if people is None else min(people, self.clips.people)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Sample]:
        """Torch's batched access: rendering a batch at once is several times faster than one by one."""
        batch = self.clips.batch(indices)
        people = [index % self.clips.people for index in indices]
        samples = [
            Sample(image=video[0], prompt=prompt, identity=person)
            for video, prompt, person in zip(batch.video, batch.prompts, people, strict=True)
        ]
        if self.clips.num_frames > 1:
            for sample, video in zip(samples, batch.video, strict=True):
                sample["video"] = video
        return samples
