"""Rendered portraits as training, validation and test photos."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor
from torch.utils.data import Dataset

from anti_i2v.data.base import PhotoBatch, PhotoSource, Sample, Split
from anti_i2v.data.resuming import map_loader
from anti_i2v.errors import UsageError
from anti_i2v.portraits.actions import ACTIONS
from anti_i2v.portraits.clips import PortraitClips
from anti_i2v.portraits.references import reference_clips


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
