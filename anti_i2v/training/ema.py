"""The running average of a generator's weights, which is evaluated and released.

Lightning's own `WeightAveraging` copies the whole LightningModule, the frozen video model included; this copies the
generator only.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, TypeVar, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

if TYPE_CHECKING:
    from anti_i2v.training.module import ProtectionModule

Network = TypeVar("Network", bound=nn.Module)


def frozen_copy(model: Network) -> Network:
    """A copy that nothing trains, in evaluation mode."""
    return copy.deepcopy(model).requires_grad_(False).eval()


def decay_at(step: int, decay: float) -> float:
    """The decay of an early step is smaller, so that the average forgets the random start: (1 + step) / (10 + step) at first."""
    return min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Average ← decay · average + (1 − decay) · model; buffers are copied.

    Args:
        average: From `frozen_copy`, changed in place.
        model: The network in training.
        decay: Share of the old average, in [0, 1].
    """
    for old, new in zip(average.parameters(), model.parameters(), strict=True):
        old.lerp_(new, 1 - decay)
    for buffer, source in zip(average.buffers(), model.buffers(), strict=True):
        buffer.copy_(source)


class WeightAverage(Callback):
    """Updates the `ema` of a `ProtectionModule` after each step of the optimiser; with gradient accumulation not every batch is one.

    Args:
        decay: Share of the old average, reached after the first steps; see `decay_at`.
    """

    def __init__(self, decay: float) -> None:
        self.decay, self.steps = decay, 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from the step of the checkpoint, if there is one."""
        self.steps = trainer.global_step

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        """See the class."""
        if trainer.global_step > self.steps:
            self.steps, module = trainer.global_step, cast("ProtectionModule", pl_module)
            update_average(module.ema, module.generator, decay_at(self.steps, self.decay))
