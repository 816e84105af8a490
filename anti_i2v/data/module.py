"""The LightningDataModule of the protection training: a source of photos, a size and a batch size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lightning.pytorch import LightningDataModule
from torch import Tensor

from anti_i2v.data.base import PhotoBatch, PhotoSource
from anti_i2v.errors import UsageError


class PhotoDataModule(LightningDataModule):
    """Batches `{"image": (B, 3, S, S) in [0, 1], "prompt": list of B}` of photos, with `"identity"` (B,) of rendered people.

    Args:
        source: Where photos come from: portraits, a folder, shards.
        photo_size: S, side of the square photos in pixels; the surrogate sees them scaled to its own size.
        batch_size: Photos a step.
        workers: Loading processes; 0 loads in the training process, which is best on two cores.
        seed: Decides order, crops and prompts of the training photos.
    """

    def __init__(self, source: PhotoSource, photo_size: int = 128, batch_size: int = 16, workers: int = 0, seed: int = 0) -> None:
        super().__init__()
        for name, value in (("photo_size", photo_size), ("batch_size", batch_size)):
            if value < 1:
                raise UsageError(f"{name} is {value}; give at least 1")
        self.source, self.photo_size, self.batch_size = source, photo_size, batch_size
        self.workers, self.seed = workers, seed

    @property
    def prompts(self) -> tuple[str, ...]:
        """Every prompt that a batch can carry."""
        return self.source.prompts

    def test_references(self, people: Sequence[int], height: int, width: int) -> Iterable[Tensor] | None:
        """Clips of test people in other scenes, if the source has some; see `PhotoSource.references`."""
        return self.source.references("test", people, height, width)

    def train_dataloader(self) -> Iterable[PhotoBatch]:
        """Shuffled training photos."""
        return self.source.loader("train", self.photo_size, self.batch_size, self.workers, self.seed)

    def val_dataloader(self) -> Iterable[PhotoBatch]:
        """Unseen people, always the same."""
        return self.source.loader("validation", self.photo_size, self.batch_size, self.workers, self.seed)

    def test_dataloader(self) -> Iterable[PhotoBatch]:
        """Other unseen people, always the same."""
        return self.source.loader("test", self.photo_size, self.batch_size, self.workers, self.seed)

    def predict_dataloader(self) -> Iterable[PhotoBatch]:
        """The test photos."""
        return self.test_dataloader()
