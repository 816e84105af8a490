"""A bank of rendered clips, or of what is made of them, drawn many times while training.

Rendering or encoding a clip costs about as much as training on it. A bank spreads that cost: it is filled once, refreshed
slowly while training, and each draw takes other clips, other frames and other noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from anti_i2v.portraits import ClipBatch, PortraitClips


@dataclass
class Rows:
    """What a bank keeps of some clips: one tensor row, prompt and action each."""

    values: Tensor
    prompts: list[str]
    action: Tensor


class Bank:
    """A ring buffer of clips in some form; new rows replace the oldest.

    Args:
        clips: Where clips come from.
        form: What is kept of a rendered batch: (B, …).
        capacity: Rows the bank holds when full.
        seed: Of all its draws.
    """

    def __init__(self, clips: PortraitClips, form: Callable[[ClipBatch], Tensor], capacity: int, seed: int) -> None:
        self.clips, self.form, self.capacity = clips, form, capacity
        self.random = torch.Generator().manual_seed(seed)
        self.rows: Rows | None = None
        self.written = 0
        self.owed = 0.0

    def __len__(self) -> int:
        return min(self.written, self.capacity)

    def _make(self, indices: list[int]) -> Rows:
        batch = self.clips.batch(indices)
        return Rows(self.form(batch), batch.prompts, batch.action)

    def add(self, count: int) -> None:
        """Render `count` clips at random indices and let them replace the oldest."""
        new = self._make(torch.randint(len(self.clips), (count,), generator=self.random).tolist())
        if self.rows is None:
            values = new.values.new_zeros(self.capacity, *new.values.shape[1:])
            self.rows = Rows(values, [""] * self.capacity, torch.zeros(self.capacity, dtype=torch.long))
        for i in range(count):
            slot = self.written % self.capacity
            self.rows.values[slot], self.rows.action[slot] = new.values[i], new.action[i]
            self.rows.prompts[slot] = new.prompts[i]
            self.written += 1

    def fill(self, count: int, quiet: bool = False) -> None:
        """Add clips, a few at a time, until the bank holds `count`."""
        from tqdm import tqdm

        with tqdm(total=min(count, self.capacity), initial=len(self), desc="filling the bank", unit="clip", disable=quiet) as bar:
            while len(self) < bar.total:
                step = min(16, bar.total - len(self))
                self.add(step)
                bar.update(step)

    def refresh(self, rate: float) -> None:
        """Add `rate` clips on average, eight at a time, which costs less than one by one."""
        self.owed += rate
        if self.owed >= 8.0:
            self.add(int(self.owed))
            self.owed -= int(self.owed)

    def draw(self, size: int) -> Rows:
        """`size` rows at random, with replacement."""
        assert self.rows is not None, "fill the bank first"
        index = torch.randint(len(self), (size,), generator=self.random)
        return Rows(self.rows.values[index], [self.rows.prompts[i] for i in index.tolist()], self.rows.action[index])


def to_bytes(batch: ClipBatch) -> Tensor:
    """The video at 8 bits a value, a quarter of the memory: (B, T, 3, H, W) uint8."""
    return (batch.video * 255.0).round().to(torch.uint8)
