"""The schedule that every stage shares, and AdamW under it."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.utilities.types import OptimizerLRScheduler

from anti_i2v.errors import UsageError
from anti_i2v.training.schedule import share_of_run, warmup_cosine


def with_schedule(optimizer: torch.optim.Optimizer, trainer: Trainer, warmup: int) -> OptimizerLRScheduler:
    """An optimiser whose learning rate rises over `warmup` steps and falls along a cosine to the end of the run.

    Raises:
        UsageError: The run has no end, so the schedule would have none.
    """
    timed = any(isinstance(callback, Timer) for callback in trainer.callbacks)  # type: ignore[attr-defined]
    if trainer.max_steps < 1 and not timed:
        raise UsageError(f"trainer.max_steps is {trainer.max_steps}; the data is endless: set --trainer.max_steps or --trainer.max_time")
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warmup_cosine(step, warmup, share_of_run(trainer, step)))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def adamw(parameters: Iterable[torch.nn.Parameter], trainer: Trainer, lr: float, warmup: int, weight_decay: float) -> OptimizerLRScheduler:
    """AdamW under that schedule."""
    optimizer = torch.optim.AdamW(parameters, lr=lr, betas=(0.9, 0.99), weight_decay=weight_decay)
    return with_schedule(optimizer, trainer, warmup)
