"""Photos of several sources, such as real portraits and rendered people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from anti_i2v.data.base import PhotoBatch, PhotoSource, Split
from anti_i2v.errors import UsageError


class MixedPhotos(PhotoSource):
    """Batches of several sources in turn: each batch is of one source, drawn by weight.

    Validation and test are those of the first source, so that their figures mean one thing. Where some sources have landmarks, photos of
    the others have landmarks that are not numbers: identity embedders that read aligned faces leave these photos out.

    Args:
        sources: By name, at least one.
        weights: How often a training batch is of each source, relative to the others; 1 for those without.

    Raises:
        UsageError: There is no source, or a weight that is not positive or of none of them.
    """

    def __init__(self, sources: dict[str, PhotoSource], weights: dict[str, float] | None = None) -> None:
        if not sources:
            raise UsageError("sources is empty; name at least one source of photos")
        weights = weights or {}
        if unknown := [name for name in weights if name not in sources]:
            raise UsageError(f"weights name {unknown[0]!r}, which is none of the sources {', '.join(sources)}")
        if wrong := {name: weight for name, weight in weights.items() if not 0 < weight < float("inf")}:
            raise UsageError(f"weights of sources must be positive, not {wrong}; leave out what should not count")
        self.sources = list(sources.values())
        self.has_landmarks = any(source.has_landmarks for source in self.sources)
        self.weights = [weights.get(name, 1.0) for name in sources]

    @property
    def prompts(self) -> tuple[str, ...]:
        """Those of all sources."""
        return tuple(dict.fromkeys(prompt for source in self.sources for prompt in source.prompts))

    def loader(self, split: Split, size: int, batch_size: int, workers: int, seed: int) -> Iterable[PhotoBatch]:
        """See `PhotoSource.loader`; in training an epoch is one of the first source in expectation."""
        if split != "train":
            return self.sources[0].loader(split, size, batch_size, workers, seed)
        loaders = [source.loader(split, size, batch_size, workers, seed + k) for k, source in enumerate(self.sources)]
        return _Alternating(loaders, self.weights, seed, self.has_landmarks)

    def references(self, split: Split, people: Sequence[int], height: int, width: int) -> Iterable[Tensor] | None:
        """See `PhotoSource.references`; of the first source."""
        return self.sources[0].references(split, people, height, width)


class _Alternating:
    """Batches of loaders, each drawn by weight; it ends when the first loader does, the others begin anew."""

    def __init__(self, loaders: Sequence[Iterable[PhotoBatch]], weights: Sequence[float], seed: int, landmarks: bool) -> None:
        self.loaders, self.weights, self.random = loaders, torch.tensor(weights), torch.Generator().manual_seed(seed)
        self.landmarks = landmarks

    def __iter__(self) -> Iterator[PhotoBatch]:
        running = [iter(loader) for loader in self.loaders]
        while True:
            choice = int(torch.multinomial(self.weights, 1, generator=self.random))
            try:
                batch = next(running[choice])
            except StopIteration:
                if choice == 0:
                    return
                running[choice] = iter(self.loaders[choice])
                batch = next(running[choice])
            if self.landmarks and "landmarks" not in batch:
                faces = batch["faces"].shape[1] if "faces" in batch else 1
                batch["landmarks"] = torch.full((len(batch["image"]), faces, 5, 2), torch.nan)
            yield batch
