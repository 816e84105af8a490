"""Photos in WebDataset shards: tar files that are read from front to back, for more photos than a folder holds well."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import torch

from anti_i2v.data.base import PhotoBatch, PhotoSource, Sample, Split, collate, read_prompts, square, worker_generator
from anti_i2v.errors import UsageError
from anti_i2v.imaging.reading import PHOTO_SUFFIXES, read_photo


class ShardPhotos(PhotoSource):
    """Photos in `.tar` shards, each a member with a picture suffix.

    Training draws shards with replacement, as webdataset recommends: no epoch to align between processes. Give
    validation and test shards of their own, with other people.

    Args:
        train: Folder with the training shards; in a config relative to that config.
        validation: Folder with the validation shards.
        test: Folder with the test shards; those of validation by default.
        prompts_file: Text file, one prompt a line; common prompts by default. Text members of the shards are not
            read: all prompts are encoded before training starts.
        shuffle: Size of the buffer from which photos are drawn, to mix shards.
    """

    def __init__(
        self,
        train: Path,
        validation: Path,
        test: Path | None = None,
        prompts_file: Path | None = None,
        shuffle: int = 1000,
    ) -> None:
        self.shards: dict[Split, list[str]] = {
            "train": _shards(train),
            "validation": _shards(validation),
            "test": _shards(test or validation),
        }
        self._prompts, self.shuffle = read_prompts(prompts_file), shuffle

    @property
    def prompts(self) -> tuple[str, ...]:
        """The lines of the prompts file."""
        return self._prompts

    def loader(self, split: Split, size: int, batch_size: int, workers: int, seed: int) -> Iterable[PhotoBatch]:
        """See `PhotoSource.loader`; a training epoch has no end, so limit it by `max_steps` or `max_time`."""
        import webdataset as wds

        train = split == "train"
        shards = self.shards[split]
        # `resampled=True` mixes process ids and the clock into its seed; only `deterministic` makes a run repeatable.
        # Photos of validation and test are split between processes and workers, so that each counts once.
        source = (
            [wds.ResampledShards(shards, seed=seed, deterministic=True)]
            if train
            else [wds.SimpleShardList(shards), wds.split_by_node, wds.split_by_worker]
        )
        stages = [*source, wds.tarfile_to_samples(handler=_skip)]
        if train:
            stages.append(wds.detshuffle(self.shuffle, seed=seed))
        stages += [
            partial(_samples, prompts=self._prompts, size=size, seed=seed if train else None),
            partial(_batches, size=batch_size, whole=train),
        ]
        # more workers than shards would leave some without work, which webdataset refuses
        loader: Iterable[PhotoBatch] = wds.WebLoader(wds.DataPipeline(*stages), batch_size=None, num_workers=min(workers, len(shards)))
        return loader


def _shards(folder: Path) -> list[str]:
    shards = sorted(str(path) for path in folder.glob("*.tar"))
    if not shards:
        raise UsageError(f"no .tar shards in {str(folder)!r}; give a folder with some; a path in a config is relative to that config")
    return shards


def _skip(error: Exception) -> bool:
    """Webdataset's handler for a damaged tar: name it and go on with the next."""
    warnings.warn(f"skipped: {error}; the shard may be damaged, copy it again", stacklevel=2)
    return True


def _samples(records: Iterable[dict[str, object]], prompts: tuple[str, ...], size: int, seed: int | None) -> Iterator[Sample]:
    """Decode the photo of each record; a warning names one that cannot be read."""
    generator = None if seed is None else worker_generator(seed)
    for index, record in enumerate(records):
        suffix = next((key for key in record if f".{key}".lower() in PHOTO_SUFFIXES), None)
        data = record[suffix] if suffix else None
        if not isinstance(data, bytes):
            continue
        try:
            image = square(read_photo(io.BytesIO(data), f"{record['__key__']}.{suffix} in {record['__url__']}"), size, generator)
        except UsageError as error:
            warnings.warn(f"skipped: {error}", stacklevel=2)
            continue
        choice = index if generator is None else int(torch.randint(1 << 30, (1,), generator=generator))
        yield Sample(image=image, prompt=prompts[choice % len(prompts)])


def _batches(samples: Iterable[Sample], size: int, whole: bool) -> Iterator[PhotoBatch]:
    """Group samples; `whole` drops a smaller last batch."""
    batch: list[Sample] = []
    for sample in samples:
        batch.append(sample)
        if len(batch) == size:
            yield collate(batch)
            batch = []
    if batch and not whole:
        yield collate(batch)
