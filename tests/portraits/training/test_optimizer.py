"""The schedule of all stages ends with the run."""

from __future__ import annotations

import pytest
import torch
from lightning.pytorch import Trainer

from anti_i2v.errors import UsageError
from anti_i2v.portraits.training.optimizer import adamw


def test_refuses_a_run_without_an_end() -> None:
    trainer = Trainer(accelerator="cpu", max_steps=-1, max_epochs=-1, logger=False, enable_checkpointing=False)
    with pytest.raises(UsageError, match="max_steps is -1"):
        adamw([torch.nn.Parameter(torch.zeros(1))], trainer, lr=1.0, warmup=2, weight_decay=0.0)
