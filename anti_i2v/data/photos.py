"""The picture files of a folder as training photos."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path

import torch
from torch.utils.data import Dataset

from anti_i2v.data.base import PhotoBatch, PhotoSource, Sample, Split, read_prompts, square, worker_generator
from anti_i2v.data.resuming import map_loader
from anti_i2v.errors import UsageError
from anti_i2v.imaging.reading import PHOTO_SUFFIXES, read_photo


class FolderPhotos(PhotoSource):
    """Picture files of a folder and its subfolders, of any size, cut to squares.

    The folder may hold `train`, `validation` and `test` subfolders, which then are the splits: put each person into
    one of them. Otherwise every tenth photo by name goes to validation and every tenth to test; fewer than ten photos
    serve all splits, which a warning says.

    Args:
        folder: Folder with photos; in a config relative to that config.
        prompts_file: Text file, one prompt a line; common prompts by default.
    """

    def __init__(self, folder: Path, prompts_file: Path | None = None) -> None:
        if not folder.is_dir():
            raise UsageError(f"no folder {str(folder)!r} with photos; a relative path in a config is relative to that config")
        self.folder, self._prompts = folder, read_prompts(prompts_file)

    @property
    def prompts(self) -> tuple[str, ...]:
        """The lines of the prompts file."""
        return self._prompts

    def files(self, split: Split) -> list[Path]:
        """The picture files of one split, by name.

        Raises:
            UsageError: There are none.
        """
        own = self.folder / split
        root = own if own.is_dir() else self.folder
        paths = sorted(p for p in root.rglob("*") if p.suffix.lower() in PHOTO_SUFFIXES and p.is_file())
        if root == self.folder:
            digits = {"train": range(8), "validation": [8], "test": [9]}[split] if len(paths) >= 10 else range(10)
            if paths and len(paths) < 10:
                warnings.warn(f"{root} has {len(paths)} photos: training, validation and test share them", stacklevel=2)
            paths = [path for i, path in enumerate(paths) if i % 10 in digits]
        if not paths:
            raise UsageError(f"no photos for {split} in {root}; known types: {', '.join(sorted(PHOTO_SUFFIXES))}")
        return paths

    def loader(self, split: Split, size: int, batch_size: int, workers: int, seed: int) -> Iterable[PhotoBatch]:
        """See `PhotoSource.loader`."""
        files = self.files(split)
        # fewer photos than a batch must not become no batch at all
        dataset = _FileDataset(files, self._prompts, size, seed if split == "train" else None)
        return map_loader(dataset, split, min(batch_size, len(files)), workers, seed)


class _FileDataset(Dataset[Sample]):
    def __init__(self, files: list[Path], prompts: tuple[str, ...], size: int, seed: int | None) -> None:
        self.files, self.prompts, self.size, self.seed = files, prompts, size, seed
        self.unreadable: set[int] = set()
        self.generator: torch.Generator | None = None

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:
        """A photo; a warning names one that cannot be read once, and the next takes its place."""
        if self.seed is not None and self.generator is None:
            self.generator = worker_generator(self.seed)  # here, because here the process is the worker
        for candidate in [*range(index, len(self)), *range(index)]:
            if candidate in self.unreadable:
                continue
            try:
                image = square(read_photo(self.files[candidate]), self.size, self.generator)
            except UsageError as error:
                self.unreadable.add(candidate)
                warnings.warn(f"skipped: {error}", stacklevel=2)
                continue
            choice = index if self.generator is None else int(torch.randint(1 << 30, (1,), generator=self.generator))
            return Sample(image=image, prompt=self.prompts[choice % len(self.prompts)])
        raise UsageError(f"none of the {len(self)} photos in {self.files[0].parent} can be read; see the warnings above")
