"""The schedule of all stages ends with the run."""

from __future__ import annotations

import pytest
from lightning.pytorch import Trainer

from anti_i2v.errors import UsageError
from anti_i2v.portraits.training.actions import ActionClassifierModule


def test_refuses_a_run_without_an_end() -> None:
    stage = ActionClassifierModule(num_frames=5, size=32)
    stage.trainer = Trainer(accelerator="cpu", max_steps=-1, max_epochs=-1, logger=False, enable_checkpointing=False)
    with pytest.raises(UsageError, match="max_steps is -1"):
        stage.configure_optimizers()
