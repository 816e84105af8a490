"""The learning rate over a run that ends by steps, by time, or by whichever comes first."""

from __future__ import annotations

import math

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Timer


def warmup_cosine(step: int, warmup: int, share: float) -> float:
    """Factor on the learning rate.

    Args:
        step: Optimiser steps done.
        warmup: Steps of linear rise.
        share: How much of the run is over, in [0, 1].

    Returns:
        Up to 1, and 0.02 at the end of the run.
    """
    rise = min(1.0, (step + 1) / max(1, warmup))
    return rise * (0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * share)))


def share_of_run(trainer: Trainer, step: int) -> float:
    """How much of a run is over, in [0, 1]: by steps or by `max_time`, whichever is further.

    A run limited by time would otherwise stop at the top of its cosine on a slow machine.
    """
    shares = [step / trainer.estimated_stepping_batches]  # infinitely many if only time ends the run
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # Lightning's Trainer has it
        if isinstance(callback, Timer) and (left := callback.time_remaining()) is not None:
            elapsed = callback.time_elapsed()
            shares.append(elapsed / max(1e-9, elapsed + max(0.0, left)))
    return min(1.0, max(shares))
