"""What `validate`, `test` and `predict` evaluate where no weights are given: the generator that ships."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from lightning.pytorch import Callback, LightningModule, Trainer

from anti_i2v.errors import UsageError
from anti_i2v.protector import DEFAULT_GENERATOR, Protector
from anti_i2v.resources import find_folder

if TYPE_CHECKING:
    from anti_i2v.training.module import ProtectionModule


class ShippedGenerator(Callback):
    """Puts the shipped generator into a `ProtectionModule` that still has random weights when evaluation starts."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From here on the weights are trained."""
        cast("ProtectionModule", pl_module).has_weights = True

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """See the class."""
        module = cast("ProtectionModule", pl_module)
        if module.has_weights:
            return
        try:
            folder = find_folder(DEFAULT_GENERATOR)
        except UsageError as error:
            raise UsageError(f"nothing to judge: give --ckpt_path FILE or --model.weights FOLDER ({error})") from error
        module.set_generator(Protector.from_pretrained(folder, backend="torch").generator.to(module.device))
        module.has_weights = True
        module.print(f"no --ckpt_path and no --model.weights: judging the shipped generator {folder}")

    on_test_start = on_predict_start = on_validation_start
