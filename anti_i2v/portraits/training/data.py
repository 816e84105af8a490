"""Data modules of the stages: rendered clips, for the judge of actions, and frames and clips for the autoencoder."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from anti_i2v.portraits import ClipBatch, PortraitClips
from anti_i2v.portraits.training.bank import Bank, Rows, to_bytes

if TYPE_CHECKING:
    from anti_i2v.portraits.training.people import PeopleBank

Batch = dict[str, Tensor | list[str]]


def to_bytes_with_face(batch: ClipBatch) -> Tensor:
    """`to_bytes`, and the mask of the face as a fourth channel: (B, T, 4, H, W) uint8."""
    return torch.cat([to_bytes(batch), (batch.face_mask * 255.0).round().to(torch.uint8)], dim=2)


class Endless(IterableDataset[Batch]):
    """Batches without end, from `stream`: the trainer ends them by steps or by time."""

    def __init__(self, stream: Callable[[], Iterator[Batch]]) -> None:
        self.stream = stream

    def __iter__(self) -> Iterator[Batch]:
        return self.stream()


class StreamData(LightningDataModule):
    """What the data modules of all stages share: endless training batches from a bank, fixed batches to validate on."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed
        self.bank: Bank | PeopleBank | None = None
        self.validation: list[Batch] = []

    @abstractmethod
    def training_batch(self) -> Batch:
        """The next draw from the bank, after a slow refresh."""

    def train_dataloader(self) -> DataLoader[Batch]:
        """Endless batches, made in the training process: the bank lives there."""
        return DataLoader(Endless(self._stream), batch_size=None)

    def _stream(self) -> Iterator[Batch]:
        assert self.bank is not None
        # A resumed run goes on with other draws than the run it continues; only here is its step known.
        if self.trainer is not None and self.trainer.global_step:
            self.bank.random.manual_seed(self.seed + 7919 * self.trainer.global_step)
        while True:
            yield self.training_batch()

    def val_dataloader(self) -> DataLoader[Batch]:
        """The same clips at every validation."""
        return DataLoader(self.validation, batch_size=None)  # type: ignore[arg-type]


class ClipData(StreamData):
    """Rendered clips in a bank and those of the validation split, with their prompts and the index of their action.

    Args:
        batch_size: Clips in a batch.
        num_frames: Frames of a clip.
        size: Height and width in pixels.
        capacity: Clips the bank holds.
        start: Clips rendered before the first step.
        fresh: Clips rendered a step.
        validation_clips: Clips of the validation split.
        seed: Of the draws.
    """

    bank: Bank | None

    def __init__(
        self,
        batch_size: int = 32,
        num_frames: int = 9,
        size: int = 64,
        capacity: int = 8192,
        start: int = 1024,
        fresh: float = 4.0,
        validation_clips: int = 256,
        seed: int = 0,
    ) -> None:
        super().__init__(seed)
        self.batch_size, self.num_frames, self.size, self.capacity = batch_size, num_frames, size, capacity
        self.start, self.fresh, self.validation_clips = start, fresh, validation_clips

    def form(self, batch: ClipBatch) -> Tensor:
        """What the bank keeps of rendered clips: (B, …)."""
        return to_bytes(batch)

    def batch(self, rows: Rows) -> Batch:
        """A validation batch from rows of the bank's form."""
        return {"video": rows.values.float() / 255.0, "prompt": rows.prompts, "action": rows.action}

    def training_batch(self) -> Batch:
        assert self.bank is not None
        self.bank.refresh(self.fresh)
        return self.batch(self.bank.draw(self.batch_size))

    def _clips(self, split: Literal["train", "validation"]) -> PortraitClips:
        return PortraitClips(split, num_frames=self.num_frames, height=self.size, width=self.size)

    def setup(self, stage: str) -> None:
        """Fill the bank and render the validation clips, once."""
        if not self.validation:
            clips = self._clips("validation")
            for first in range(0, self.validation_clips, 8):
                rendered = clips.batch(range(first, min(first + 8, self.validation_clips)))
                self.validation.append(self.batch(Rows(self.form(rendered), rendered.prompts, rendered.action)))
        if stage == "fit" and self.bank is None:
            self.bank = Bank(self._clips("train"), self.form, self.capacity, self.seed)
            self.bank.fill(self.start)


class FrameAndClipData(ClipData):
    """Single frames and whole clips for the autoencoder, mixed.

    A frame costs half as much as it does inside a clip and teaches the spatial part just as well, so most steps train on
    frames; the share of clip steps rises with the training so that the temporal part is finished last.

    Args:
        frames: Frames in a batch of single frames.
        clips: Clips in a batch of clips.
        clip_share_start: Share of clip steps at the first step, 0–1.
        clip_share_end: Share of clip steps at the last step, 0–1.
        num_frames: Frames of a clip.
        size: Height and width in pixels.
        capacity: Clips the bank holds.
        start: Clips rendered before the first step.
        fresh: Clips rendered a step.
        validation_clips: Clips of the validation split.
        seed: Of the draws.
    """

    def __init__(
        self,
        frames: int = 24,
        clips: int = 4,
        clip_share_start: float = 0.1,
        clip_share_end: float = 0.5,
        num_frames: int = 9,
        size: int = 128,
        capacity: int = 4096,
        start: int = 512,
        fresh: float = 1.0,
        validation_clips: int = 32,
        seed: int = 0,
    ) -> None:
        super().__init__(clips, num_frames, size, capacity, start, fresh, validation_clips, seed)
        self.frames = frames
        self.clip_share_start, self.clip_share_end = clip_share_start, clip_share_end
        self.clip_debt = 0.0

    def form(self, batch: ClipBatch) -> Tensor:
        return to_bytes_with_face(batch)

    def batch(self, rows: Rows) -> Batch:
        """{"video": (B, T, 3, H, W), "face": (B, T, 1, H, W) in [0, 1], …} from rows of the bank's form."""
        values = rows.values.float() / 255.0
        return {"video": values[:, :, :3], "face": values[:, :, 3:], "prompt": rows.prompts, "action": rows.action}

    def training_batch(self) -> Batch:
        """{"video": (frames, 1, 3, H, W) or (clips, T, 3, H, W) in [0, 1], "face": …}."""
        assert self.bank is not None
        self.bank.refresh(self.fresh)
        progress = self.trainer.global_step / max(1, self.trainer.max_steps) if self.trainer is not None else 0.0
        self.clip_debt += self.clip_share_start + (self.clip_share_end - self.clip_share_start) * progress
        if self.clip_debt >= 1.0:
            self.clip_debt -= 1.0
            return self.batch(self.bank.draw(self.batch_size))
        rows = self.bank.draw(self.frames)
        moment = torch.randint(self.num_frames, (self.frames,), generator=self.bank.random)
        rows.values = rows.values[torch.arange(self.frames), moment].unsqueeze(1)
        return self.batch(rows)
