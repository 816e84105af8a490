"""The running average of weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from anti_i2v.training.ema import decay_at, frozen_copy, update_average


def test_the_average_moves_by_one_minus_decay_and_buffers_are_copied() -> None:
    model = nn.BatchNorm1d(1)
    average = frozen_copy(model)
    with torch.no_grad():
        model.weight.fill_(3.0)
        model.running_mean.fill_(7.0)  # type: ignore[union-attr]
    update_average(average, model, decay=0.75)
    assert average.weight.item() == pytest.approx(0.75 * 1 + 0.25 * 3)
    assert average.running_mean.item() == 7.0  # type: ignore[union-attr]
    assert not average.training
    assert not average.weight.requires_grad
    assert model.weight.requires_grad


def test_early_steps_forget_the_start() -> None:
    assert decay_at(0, 0.99) == pytest.approx(0.1)
    assert decay_at(8, 0.99) == pytest.approx(0.5)
    assert decay_at(10**6, 0.99) == 0.99
