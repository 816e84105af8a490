"""What the trainings of all shipped networks share: they write their folder after every validation and at the end."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from lightning.pytorch import LightningModule


class Stage(LightningModule, ABC):
    """A training whose result is a folder, complete from the first validation on, so that the next stage can begin at any time."""

    seed = 0

    @abstractmethod
    def write(self) -> None:
        """Write the folder; called in one process only."""

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
