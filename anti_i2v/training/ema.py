"""The running average of a generator's weights, which is what gets judged and released.

Lightning's own `WeightAveraging` copies the whole LightningModule, the frozen video model included; this copies the
generator only.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

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
    for kept, now in zip(average.buffers(), model.buffers(), strict=True):
        kept.copy_(now)
