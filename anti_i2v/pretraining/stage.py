"""What the trainings of all shipped networks share: when they write their folder, and how their learning rate falls."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.utilities.types import OptimizerLRScheduler

from anti_i2v.errors import UsageError
from anti_i2v.training.muon import Muon
from anti_i2v.training.schedule import share_of_run, warmup_cosine


class Stage(LightningModule, ABC):
    """A training whose result is a folder, complete from the first validation on, so that the next stage can begin at any time."""

    seed = 0
    lr: float
    warmup: int
    weight_decay: float | None = None
    """Of AdamW; None trains by Muon, which has none."""

    @abstractmethod
    def write(self) -> None:
        """Write the folder; called in one process only."""

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """What learns, by a rate that rises over `warmup` steps and falls along a cosine to the end of the run.

        Raises:
            UsageError: The run has no end, so the schedule would have none.
        """
        trainer = self.trainer
        timed = any(isinstance(callback, Timer) for callback in trainer.callbacks)  # type: ignore[attr-defined]
        if trainer.max_steps < 1 and not timed:
            remedy = "the data is endless: set --trainer.max_steps or --trainer.max_time"
            raise UsageError(f"trainer.max_steps is {trainer.max_steps}; {remedy}")
        parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer: torch.optim.Optimizer
        if self.weight_decay is None:
            optimizer = Muon(parameters, self.lr)
        else:
            optimizer = torch.optim.AdamW(parameters, self.lr, betas=(0.9, 0.99), weight_decay=self.weight_decay)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warmup_cosine(step, self.warmup, share_of_run(trainer, step)))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_start(self) -> None:
        """Seed the draws; a resumed run goes on with others than the run it continues."""
        self.random = torch.Generator().manual_seed(self.seed + 7919 * self.trainer.global_step)

    def on_validation_epoch_end(self) -> None:
        """Write, but not after a sanity check or a mere validation."""
        if not self.trainer.sanity_checking and self.trainer.state.fn == "fit":
            self._write_once()

    def on_fit_end(self) -> None:
        self._write_once()

    def _write_once(self) -> None:
        if self.trainer.is_global_zero:
            self.write()
