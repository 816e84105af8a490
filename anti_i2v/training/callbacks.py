"""What a training run shows and writes: progress, pictures in TensorBoard, and a generator folder that protects photos."""

from __future__ import annotations

import copy
import math
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from anti_i2v.data import PhotoBatch
from anti_i2v.errors import UsageError
from anti_i2v.evaluation.pictures import residual_picture, sheet, some_frames
from anti_i2v.generators.onnx import export_onnx
from anti_i2v.imaging.tensors import resize
from anti_i2v.resources import commit
from anti_i2v.training.module import ProtectionModule
from anti_i2v.training.release import Checkpoint, model_card
from anti_i2v.training.schedule import share_of_run


class RunProgressBar(TQDMProgressBar):
    """One bar for the whole run, with steps done of all and the time left: an epoch's share would mislead, photos being so many."""

    def init_train_tqdm(self) -> Tqdm:
        """A bar over the steps of the run; a run that only time ends has no number of them."""
        bar, steps = super().init_train_tqdm(), self.trainer.estimated_stepping_batches
        bar.total = int(steps) if math.isfinite(steps) else None
        bar.bar_format = "step {n_fmt}/{total_fmt} [{elapsed}{postfix}]"
        return bar

    def on_train_start(self, trainer: Trainer, *_: object) -> None:
        """Remember where this process starts; after a resume that is not the beginning of the run."""
        super().on_train_start()
        self._start = time.monotonic(), share_of_run(trainer, trainer.global_step)

    def on_train_epoch_start(self, trainer: Trainer, *_: object) -> None:
        """The next epoch continues the bar."""

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        """Show the step, the time left and the logged figures."""
        if self.is_enabled and trainer.global_step % self.refresh_rate == 0:
            self.train_progress_bar.n = trainer.global_step
            self.train_progress_bar.set_postfix(self.get_metrics(trainer, pl_module))

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, int | str | float | dict[str, float]]:
        """The logged figures after the time left, which is unknown before the first step."""
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        if not trainer.training:
            return metrics
        begin, share_before = self._start
        share = share_of_run(trainer, trainer.global_step)
        if share <= share_before:
            return metrics
        seconds = (time.monotonic() - begin) * (1 - share) / (share - share_before)
        return {"left": Tqdm.format_interval(seconds), **metrics}


class ProtectionPictures(Callback):
    """After each validation: photo | protected | residual ×10 | frames of the clip of each, one person a row.

    Args:
        people: Rows; each costs two clips a validation.
        size: Side of a cell in pixels.
    """

    def __init__(self, people: int = 4, size: int = 96) -> None:
        self.people, self.size = people, size

    @torch.no_grad()
    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: PhotoBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draw the first batch's first people, without videos where the surrogate cannot animate."""
        logs = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
        if batch_idx or trainer.sanity_checking or not logs or not isinstance(pl_module, ProtectionModule):
            return
        image, surrogate = batch["image"][: self.people], pl_module.surrogate
        protected = pl_module.averaged_protector(image)
        clips = [] if surrogate.features_only else self._clips(pl_module, (image, protected), batch["prompt"][: self.people])
        rows = [
            [image[i], protected[i], residual_picture(image[i], protected[i])] + [frame for clip in clips for frame in some_frames(clip[i])]
            for i in range(len(image))
        ]
        picture = sheet(rows, self.size)
        for logger in logs:
            logger.experiment.add_image("photo | protected | residual x10 | video | protected video", picture, trainer.global_step)

    def _clips(self, module: ProtectionModule, photos: Sequence[Tensor], prompts: list[str]) -> list[Tensor]:
        surrogate = module.surrogate
        text = surrogate.encode_text(prompts)
        return [surrogate.animate(resize(photo, surrogate.height, surrogate.width), text, seed=module.seed) for photo in photos]


class GeneratorExport(Callback):
    """When training ends, write the averaged generator as a generator folder and say how to protect a photo with it.

    The folder gets a `model.onnx` as well, so that photos are protected without torch.

    Args:
        folder: Where to; by default `generator` in the run's log folder.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the folder; a `fast_dev_run` writes nothing."""
        folder = self.folder or Path(trainer.log_dir or trainer.default_root_dir) / "generator"  # log_dir: on every rank
        if trainer.fast_dev_run or not trainer.is_global_zero or not isinstance(pl_module, ProtectionModule):  # type: ignore[attr-defined]
            return
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        facts = {**pl_module.facts(), "global_step": trainer.global_step, "metrics": metrics}
        if code := commit():
            facts["commit"] = code
        del facts["epsilon"]  # the protector carries it
        protector = pl_module.averaged_protector
        card = model_card(folder.name, Checkpoint(protector.generator, pl_module.epsilon, True, facts))
        protector.save_pretrained(folder, card=card, extra=facts)
        print(f"\nwrote {folder}")
        try:
            export_onnx(copy.deepcopy(protector.generator).cpu(), folder)
        except UsageError as error:
            print(f"no model.onnx, so photos are protected with torch: {error}")
        where = shlex.quote(str(folder))
        print(f"protect a photo with it:\n\n    anti-i2v protect PHOTO --out protected --generator {where}\n")
