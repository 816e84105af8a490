"""The LightningModule: trains a generator against a frozen surrogate, validates it on unseen people, tests it on their videos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from anti_i2v.budget import check_epsilon
from anti_i2v.data import PhotoBatch, PhotoDataModule
from anti_i2v.ema import decay_at, frozen_copy, update_average
from anti_i2v.errors import UsageError
from anti_i2v.generators import Generator
from anti_i2v.images import resize
from anti_i2v.metrics import psnr
from anti_i2v.muon import Muon
from anti_i2v.objectives import Objective
from anti_i2v.protector import DEFAULT_GENERATOR, Protector
from anti_i2v.resources import find_folder
from anti_i2v.schedule import share_of_run, warmup_cosine
from anti_i2v.surrogates import Surrogate
from anti_i2v.transforms import Transform

if TYPE_CHECKING:
    from anti_i2v.evaluation.judging import Judges
    from anti_i2v.evaluation.runner import Trial


class ProtectionModule(LightningModule):
    """Trains a generator so that protected photos lead the surrogate's features away from those of the photos.

    Only the generator and its running average are submodules: the surrogate is no part of checkpoints.

    Args:
        generator: The network to train.
        objective: What it minimises, on features.
        transform: What happens to a protected photo before the surrogate sees it (EOT).
        taps: Layers of the surrogate's denoiser, such as `blocks.11`.
        surrogate: Pipeline folder, name of a shipped checkpoint, or hub id.
        weights: Generator folder or shipped name to start from, whose network then takes the place of `generator`;
            random weights if not given. `validate` and `test` without it and without `--ckpt_path` take the shipped one.
        height, width: Size in pixels at which the surrogate sees photos.
        num_frames: Length of the clips.
        steps: Length of the surrogate's schedule.
        min_sigma: Training draws noise levels at least this high, where a video model decides what happens.
        epsilon: Budget of validation, test and the exported generator, in 1/255.
        epsilon_low, epsilon_high: Training draws each photo's budget between these, in 1/255.
        lr: Highest learning rate.
        warmup_steps: Steps to reach it; then a cosine falls to 2 % at the trainer's last step or `max_time`.
        weight_decay: Of AdamW.
        muon: Train with Muon instead of AdamW.
        ema_decay: Of the running average of the weights.
        seed: Of noise, draws and budgets.
        judge: Folder of the judge of identity that `test` asks, or a shipped name; null leaves its columns out.
        actions: The same of the classifier of actions.
    """

    def __init__(
        self,
        generator: Generator,
        objective: Objective,
        transform: Transform,
        taps: list[str],
        surrogate: Path = Path("portrait-dit"),
        weights: Path | None = None,
        height: int = 128,
        width: int = 128,
        num_frames: int = 9,
        steps: int = 20,
        min_sigma: float = 0.75,
        epsilon: float = 8.0,
        epsilon_low: float = 2.0,
        epsilon_high: float = 16.0,
        lr: float = 1e-3,
        warmup_steps: int = 50,
        weight_decay: float = 1e-2,
        muon: bool = False,
        ema_decay: float = 0.995,
        seed: int = 0,
        judge: Path | None = Path("portrait-judge"),
        actions: Path | None = Path("portrait-actions"),
    ) -> None:
        super().__init__()
        self.epsilon = check_epsilon(epsilon)
        if not check_epsilon(epsilon_low) <= check_epsilon(epsilon_high):
            raise UsageError(f"epsilon_low {epsilon_low} is above epsilon_high {epsilon_high}; swap them")
        self.epsilon_low, self.epsilon_high = epsilon_low, epsilon_high
        self.taps, self.source, self.weights = list(taps), Path(surrogate), weights
        self.height, self.width, self.num_frames, self.steps, self.min_sigma = height, width, num_frames, steps, min_sigma
        self.lr, self.warmup_steps, self.weight_decay, self.ema_decay = lr, warmup_steps, weight_decay, ema_decay
        self.muon, self.seed, self.judge, self.actions = muon, seed, judge, actions
        if weights is not None:
            generator = Protector.from_pretrained(weights).generator
        self._adopt(generator)
        # Lists and dicts hide modules from Lightning: nothing here may enter a checkpoint, be cast, or be trained.
        self._hidden = {"objective": objective, "transform": transform}
        self._surrogates: list[Surrogate] = []
        self._fresh = weights is None
        self._random = torch.Generator()
        self._judges: Judges | None = None  # no module, so that nothing of it enters a checkpoint
        self._trials: list[Trial] = []
        self._averaged = 0

    def _adopt(self, generator: Generator) -> None:
        self.generator = generator
        self.ema = frozen_copy(generator)

    # ---------------------------------------------------------------------------------------------- what is built when
    def configure_model(self) -> None:
        """Load the surrogate, once; Lightning calls this at every entry."""
        if not self._surrogates:
            source = str(self.source)
            self._surrogates.append(Surrogate.from_pretrained(source, self.taps, self.height, self.width, self.num_frames, self.steps))

    @property
    def surrogate(self) -> Surrogate:
        """The frozen video model, on this module's device."""
        if not self._surrogates:
            raise RuntimeError("the surrogate is loaded by the trainer or by configure_model()")
        return self._surrogates[0]

    def protector(self, averaged: bool = True) -> Protector:
        """The protector around the averaged generator, or around the one in training; it shares their weights."""
        return Protector(self.ema if averaged else self.generator, self.epsilon).to(self.device).train(not averaged)

    def _judge_shipped(self) -> None:
        """Without weights from anywhere, judge the shipped generator; only now is it known that no checkpoint was loaded."""
        if not self._fresh:
            return
        try:
            folder = find_folder(DEFAULT_GENERATOR)
        except UsageError as error:
            raise UsageError(f"nothing to judge: give --ckpt_path FILE or --model.weights FOLDER ({error})") from error
        self._adopt(Protector.from_pretrained(folder).generator.to(self.device))
        self._fresh = False
        self.print(f"no --ckpt_path and no --model.weights: judging the shipped generator {folder}")

    def _place(self) -> None:
        """Move what Lightning does not see, and encode every prompt once so that the text encoder can go."""
        self.surrogate.to(self.device)
        for part in self._hidden.values():
            part.to(self.device)
        data = getattr(self.trainer, "datamodule", None)
        if isinstance(data, PhotoDataModule):  # another data module may bring prompts that nobody listed
            self.surrogate.encode_text(list(data.prompts))
            self.surrogate.drop_text_encoder()

    def on_fit_start(self) -> None:
        """See `_place`."""
        self._place()
        self._fresh = False
        self._averaged = self.global_step

    def on_validation_start(self) -> None:
        """See `_place` and `_judge_shipped`."""
        self._place()
        self._judge_shipped()

    def on_predict_start(self) -> None:
        """See `_judge_shipped`."""
        self._judge_shipped()

    def on_test_start(self) -> None:
        """See `_place`; one process only, because each would report its own share of the people."""
        from anti_i2v.evaluation.judging import load_judges

        if self.trainer.world_size > 1:
            raise UsageError(f"test runs in one process, not {self.trainer.world_size}; add --trainer.devices 1")
        data = getattr(self.trainer, "datamodule", None)
        prompts = data.prompts if isinstance(data, PhotoDataModule) else ()
        self._judges = load_judges(self.judge, self.actions, self.num_frames, prompts, self.device)
        self._place()
        self._judge_shipped()
        self._trials.clear()

    # ------------------------------------------------------------------------------------------------------- training
    def training_step(self, batch: PhotoBatch, batch_idx: int) -> Tensor:
        """One step; see `PhotoBatch` for the batch. Every photo draws its own epsilon, the batch shares one noise level."""
        # By the number of the step, so that an interrupted run draws what the uninterrupted one does.
        part = batch_idx % self.trainer.accumulate_grad_batches
        self._random.manual_seed(((self.seed * 1_000_003 + self.global_step) * 4099 + self.global_rank) * 64 + part)
        image = batch["image"]
        spread = torch.rand(len(image), generator=self._random).to(image)
        protected = self.protector(averaged=False)(image, self.epsilon_low + (self.epsilon_high - self.epsilon_low) * spread)
        loss, parts = self._compare(image, protected, batch["prompt"])
        if not bool(loss.isfinite()):
            raise UsageError(f"the loss is {loss.item()} at step {self.global_step}; lower --model.lr (now {self.lr:g})")
        figures = {"train/loss": loss.detach(), "train/psnr": psnr(image, protected.detach()).mean()}
        self.log_dict(figures, prog_bar=True, batch_size=len(image))
        self.log_dict({f"train/{name}": value for name, value in parts.items()}, batch_size=len(image))
        return loss

    def _compare(self, image: Tensor, protected: Tensor, prompts: list[str]) -> tuple[Tensor, dict[str, Tensor]]:
        """The objective on what the surrogate makes of both photos after the same transform, at the same draw.

        The clean photo goes through the transform too: otherwise the change that JPEG makes to any photo would count
        as protection.
        """
        transform, state = self._hidden["transform"], self._random.get_state()
        with torch.autocast(image.device.type, enabled=False):  # reduced precision moves latents more than a residual does
            worn = transform(protected.float(), self._random)
            with torch.no_grad():
                clean = transform(image.float(), torch.Generator().set_state(state))
            return self._objective(clean, worn, prompts, self._random)

    def _objective(self, clean: Tensor, worn: Tensor, prompts: list[str], random: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """The objective on what the surrogate makes of two versions of photos at one draw."""
        with torch.autocast(clean.device.type, enabled=False):
            with torch.no_grad():
                text = self.surrogate.encode_text(prompts)
                draw = self.surrogate.draw(len(clean), random, self.min_sigma)
                reference = self.surrogate(resize(clean.float(), self.height, self.width), text, draw)
            seen = self.surrogate(resize(worn.float(), self.height, self.width), text, draw)
            result: tuple[Tensor, dict[str, Tensor]] = self._hidden["objective"](reference, seen, draw)
        return result

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Log the norm of the gradient, before clipping, and the learning rate."""
        norms = [p.grad.norm() for p in self.generator.parameters() if p.grad is not None]
        self.log_dict({"train/grad_norm": torch.stack(norms).norm(), "train/lr": optimizer.param_groups[0]["lr"]})

    def on_train_batch_end(self, outputs: object, batch: PhotoBatch, batch_idx: int) -> None:
        """Follow the optimiser with the running average; with gradient accumulation not every batch is a step."""
        if self.global_step > self._averaged:
            self._averaged = self.global_step
            update_average(self.ema, self.generator, decay_at(self.global_step, self.ema_decay))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Muon or AdamW with warmup and a cosine over the run."""
        trained = [p for p in self.generator.parameters() if p.requires_grad]
        optimizer: torch.optim.Optimizer = (
            Muon(trained, self.lr) if self.muon else torch.optim.AdamW(trained, lr=self.lr, weight_decay=self.weight_decay)
        )

        def rate(step: int) -> float:
            return warmup_cosine(step, self.warmup_steps, share_of_run(self.trainer, step))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    # ------------------------------------------------------------------------------------------------------ judgement
    def validation_step(self, batch: PhotoBatch, batch_idx: int) -> None:
        """Loss and damage of features by the averaged generator on unseen people, and by equally strong noise; draws are fixed."""
        from anti_i2v.evaluation.runner import photo_measures

        protector, image, prompts, seed = self.protector(), batch["image"], batch["prompt"], self.seed + batch_idx
        figures = photo_measures(self.surrogate, protector, image, prompts, self.epsilon, seed)
        loss, parts = self._objective(image, protector(image, self.epsilon), prompts, torch.Generator().manual_seed(seed))
        found = {"loss": loss, **{f"part/{name}": value for name, value in parts.items()}}
        self.log_dict({f"val/{name}": value for name, value in found.items()}, batch_size=len(image), sync_dist=True)
        for name, values in figures.items():
            self.log(f"val/{name}", values.mean(), prog_bar=name == "damage", batch_size=len(values), sync_dist=True)

    def test_step(self, batch: PhotoBatch, batch_idx: int) -> None:
        """Animate clean, protected and equally noisy versions of unseen people."""
        from anti_i2v.evaluation.runner import run_trial

        image, prompts, who = batch["image"], batch["prompt"], batch.get("identity")
        seed = self.seed + batch_idx
        self._trials.append(run_trial(self.surrogate, self.protector(), image, prompts, self.epsilon, seed, self._judges, who))

    def on_test_epoch_end(self) -> None:
        """Print and save what the trials and the judges found."""
        from anti_i2v.evaluation.report import markdown, summarise, trial_sheet, write_results
        from anti_i2v.evaluation.runner import with_identity

        judges, trials = self._judges, self._trials
        notes = [] if judges is None else list(judges.notes)
        if judges is not None and judges.identity is not None:
            trials, note = with_identity(trials, judges.identity, self.height, self.width)
            notes.append(note)
        folder = Path(self.trainer.log_dir or self.trainer.default_root_dir)
        summary = summarise([trial.measures for trial in trials])
        people = sum(len(trial.photos["clean"]) for trial in trials)
        facts = {**self.facts(), "people": people, "photo_size": trials[0].photos["clean"].shape[-1]}
        found = {name: interval["mean"] for name, interval in summary["protected"].items()}
        self.log_dict({f"test/{name}": value for name, value in found.items() if value is not None})
        self.print(markdown(summary, facts, notes))
        for path in write_results(folder, summary, facts, trial_sheet(trials[0]), notes):
            self.print(f"wrote {path}")
        self._trials.clear()

    def predict_step(self, batch: PhotoBatch, batch_idx: int) -> Tensor:
        """Protected photos, (B, 3, S, S) in [0, 1]; for files use `anti-i2v protect`."""
        protected: Tensor = self.protector()(batch["image"])
        return protected

    # ---------------------------------------------------------------------------------------------------- checkpoints
    def facts(self) -> dict[str, object]:
        """What a generator of this run is, in plain types, for checkpoints, cards and reports."""
        name = self.source.name if self.source.is_dir() else self.source.as_posix()
        return {
            "epsilon": self.epsilon,
            "protects_against": name,
            "surrogate": name,
            "objective": type(self._hidden["objective"]).__name__,
            "taps": list(self.taps),
            "size": f"{self.num_frames} frames of {self.height}x{self.width}",
            "seed": self.seed,
        }

    def on_save_checkpoint(self, checkpoint: dict[str, object]) -> None:
        """Add what `anti-i2v export` needs to rebuild the generator without a config."""
        generator = {"class": type(self.generator).__name__, "config": self.generator.config()}
        checkpoint["anti_i2v"] = {"generator": generator, **self.facts()}

    def on_load_checkpoint(self, checkpoint: dict[str, object]) -> None:
        """Refuse a checkpoint of another network by name, before torch lists every weight that does not fit."""
        held = checkpoint.get("anti_i2v")
        if not isinstance(held, dict):
            raise UsageError("the checkpoint is not one of the protection training; give a .ckpt written by `fit` with this config")
        mine = {"class": type(self.generator).__name__, "config": self.generator.config()}
        if held["generator"] != mine:
            raise UsageError(f"the checkpoint holds {held['generator']}, the config describes {mine}; use the config.yaml of its run")
        self._fresh = False
