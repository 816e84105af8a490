"""A loader that continues where an interrupted run stopped, so that the run ends as the uninterrupted one does.

Lightning keeps the loader's state in the checkpoint. Photos of earlier batches are skipped by their indices, without loading them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, Sampler, SequentialSampler

from anti_i2v.data.base import PhotoBatch, Sample, Split, collate


class ResumableBatches(BatchSampler):
    """A `BatchSampler` that can skip what an earlier process has already given.

    The arguments are those of `BatchSampler`, which is what lets Lightning rebuild it around a distributed sampler.
    """

    epochs = 0
    """Epochs to skip: each takes the draw of its order from a shuffling sampler's generator."""
    batches = 0
    """Batches of the next epoch to skip."""

    def __iter__(self) -> Iterator[list[int]]:
        """The batches of the next epoch that are not skipped."""
        for _ in range(self.epochs):
            next(iter(self.sampler), None)
        skipped, self.epochs, self.batches = self.batches, 0, 0
        return itertools.islice(super().__iter__(), skipped, None)


class ResumableLoader(DataLoader[PhotoBatch]):
    """A `DataLoader` over `ResumableBatches` that knows how many batches were taken from it."""

    epochs = 0
    batches = 0

    def __iter__(self) -> Iterator[PhotoBatch]:  # type: ignore[override]
        """Batches, counted when they are taken: those that workers have ready do not count yet."""
        for batch in super().__iter__():
            self.batches += 1
            if self.batches >= len(self):
                self.epochs, self.batches = self.epochs + 1, 0
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Epochs and batches taken."""
        return {"epochs": self.epochs, "batches": self.batches}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue from there when the next epoch starts."""
        self.epochs, self.batches = state["epochs"], state["batches"]
        if isinstance(self.batch_sampler, ResumableBatches):
            self.batch_sampler.epochs, self.batch_sampler.batches = self.epochs, self.batches


def map_loader(dataset: Dataset[Sample], split: Split, batch_size: int, workers: int, seed: int) -> ResumableLoader:
    """The loader of a dataset with a length; training is shuffled and never ends on a smaller batch."""
    train = split == "train"
    order: Sampler[int] = SequentialSampler(dataset)  # type: ignore[arg-type]
    if train:
        order = RandomSampler(dataset, generator=torch.Generator().manual_seed(seed))  # type: ignore[arg-type]
    return ResumableLoader(
        dataset,  # type: ignore[arg-type]  # typed by what it yields, which the collate function turns into batches
        batch_sampler=ResumableBatches(order, batch_size, drop_last=train),
        num_workers=workers,
        persistent_workers=workers > 0,
        collate_fn=collate,
    )
