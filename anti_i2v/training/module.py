"""The LightningModule: trains a generator against a frozen surrogate, validates it on unseen people, tests it on their videos."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from anti_i2v.budget import check_epsilon
from anti_i2v.data import PhotoBatch, PhotoDataModule
from anti_i2v.errors import UsageError
from anti_i2v.generators import Generator
from anti_i2v.imaging.metrics import psnr
from anti_i2v.objectives import Objective
from anti_i2v.protector import DEFAULT_GENERATOR, Protector
from anti_i2v.resources import find_folder
from anti_i2v.surrogates import Surrogate
from anti_i2v.training.ema import decay_at, frozen_copy, update_average
from anti_i2v.training.ensemble import Ensemble, SurrogateConfig
from anti_i2v.training.muon import Muon
from anti_i2v.training.schedule import share_of_run, warmup_cosine
from anti_i2v.training.transforms import Transform

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
        taps: Layers of the surrogate's denoiser, such as `blocks.11`; see `SurrogateConfig`, also for `taps_file`.
        surrogate: Pipeline folder, name of a shipped checkpoint, or hub id.
        surrogates: Several frozen models by name instead; then `taps`, `surrogate` and the sizes of the one are not read.
        use: With several, a training step asks `one` of them, drawn by weight, or `all`.
        assign: With several processes, each holds all of them (`every`), or members of its own (`by-rank`).
        weights: Generator folder or shipped name to start from, whose network then takes the place of `generator`;
            random weights if not given. `validate` and `test` without it and without `--ckpt_path` take the shipped one.
        height, width: Size in pixels at which the surrogate sees photos.
        num_frames: Length of the clips.
        steps: Length of the surrogate's schedule.
        min_sigma: Training draws noise levels at least this high, where a video model decides what happens.
        max_sigma: And at most this high.
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
        taps: list[str] | str | None = None,
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
        surrogates: dict[str, SurrogateConfig] | None = None,
        use: Literal["one", "all"] = "one",
        assign: Literal["every", "by-rank"] = "every",
        seed: int = 0,
        max_sigma: float = 1.0,
        taps_file: Path | None = None,
        judge: Path | None = Path("portrait-judge"),
        actions: Path | None = Path("portrait-actions"),
    ) -> None:
        super().__init__()
        self.epsilon = check_epsilon(epsilon)
        if not check_epsilon(epsilon_low) <= check_epsilon(epsilon_high):
            raise UsageError(f"epsilon_low {epsilon_low} is above epsilon_high {epsilon_high}; swap them")
        self.epsilon_low, self.epsilon_high = epsilon_low, epsilon_high
        self.weights = weights
        if surrogates is None:
            if taps is None:
                raise UsageError("no taps given; name layers of the surrogate's denoiser, such as --model.taps [decoded,photo]")
            one = SurrogateConfig(
                Path(surrogate), taps, height, width, num_frames, steps, min_sigma, max_sigma=max_sigma, taps_file=taps_file
            )
            surrogates = {one.source.name if one.source.is_dir() else one.source.as_posix(): one}
        elif taps is not None:
            raise UsageError(f"taps {taps} and surrogates {', '.join(surrogates)} are both given; each of the surrogates has its own taps")
        self.ensemble = Ensemble(surrogates, objective, use, assign)
        self.lr, self.warmup_steps, self.weight_decay, self.ema_decay = lr, warmup_steps, weight_decay, ema_decay
        self.muon, self.seed, self.judge, self.actions = muon, seed, judge, actions
        if weights is not None:
            generator = Protector.from_pretrained(weights).generator
        self._adopt(generator)
        # A list hides a module from Lightning: it may not enter a checkpoint, be cast, or be trained.
        self._transform = [transform]
        self._fresh = weights is None
        self._judges: Judges | None = None  # no module, so that nothing of it enters a checkpoint
        self._trials: list[Trial] = []
        self._averaged = 0

    def _adopt(self, generator: Generator) -> None:
        self.generator = generator
        self.ema = frozen_copy(generator)

    # ---------------------------------------------------------------------------------------------- what is built when
    def configure_model(self) -> None:
        """Load the surrogates that this process holds, once; Lightning calls this at every entry."""
        # Where the prompts are known they are encoded now, and no text encoder stays. Another data module may bring any.
        data = getattr(self._trainer, "datamodule", None)
        self.ensemble.load(*self._process(), data.prompts if isinstance(data, PhotoDataModule) else ())

    def _process(self) -> tuple[int, int]:
        """Rank and number of processes."""
        trainer = self._trainer  # none where the module is used without
        return (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)

    @property
    def surrogate(self) -> Surrogate:
        """The first frozen video model, on this module's device: what validation and test look at."""
        return self.ensemble.first.surrogate

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
        """Move what Lightning does not see."""
        self.ensemble.to(self.device)
        self._transform[0].to(self.device)

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
        if self.surrogate.features_only:
            name = self.facts()["surrogate"]
            raise UsageError(f"the surrogate {name} is loaded for features only, and test animates; set features_only: false")
        data = getattr(self.trainer, "datamodule", None)
        prompts = data.prompts if isinstance(data, PhotoDataModule) else ()
        self._judges = load_judges(self.judge, self.actions, self.surrogate.num_frames, prompts, self.device)
        self._place()
        self._judge_shipped()
        self._trials.clear()

    # ------------------------------------------------------------------------------------------------------- training
    def training_step(self, batch: PhotoBatch, batch_idx: int) -> Tensor:
        """One step; see `PhotoBatch` for the batch. Every photo draws its own epsilon, the batch shares one noise level."""
        image, (rank, _) = batch["image"], self._process()
        # By the number of the step, so that an interrupted run draws what the uninterrupted one does. Processes that hold
        # different members draw the same, so that together they compute the step of one that holds them all.
        alike = len(self.ensemble.names) if self.ensemble.assign == "by-rank" else 1
        part = batch_idx % self.trainer.accumulate_grad_batches
        seed = (((self.seed * 1_000_003 + self.global_step) * 4099 + rank // alike) * 64 + part) % 2**57
        random = torch.Generator().manual_seed(seed)
        spread = torch.rand(len(image), generator=random).to(image)
        protected = self.protector(averaged=False)(image, self.epsilon_low + (self.epsilon_high - self.epsilon_low) * spread)
        loss, parts = self._compare(batch, protected, seed, random)
        if not bool(loss.isfinite()):
            where = ", ".join(name for name, value in parts.items() if not bool(value.isfinite())) or "none of its parts alone"
            raise UsageError(
                f"the loss is {loss.item()} at step {self.global_step}, because of {where}; "
                f"lower --model.lr (now {self.lr:g}), or use a surrogate's dtype float32 where it is bfloat16"
            )
        figures = {"train/loss": loss.detach(), "train/psnr": psnr(image, protected.detach()).mean()}
        self.log_dict(figures, prog_bar=True, batch_size=len(image))
        self.log_dict({f"train/{name}": value for name, value in parts.items()}, batch_size=len(image))
        return loss

    def _compare(self, batch: PhotoBatch, protected: Tensor, seed: int, random: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """What the step's surrogates make of both photos after the same transform.

        The clean photo goes through the transform too: otherwise the change that JPEG makes to any photo would count
        as protection.
        """
        transform, state, image = self._transform[0], random.get_state(), batch["image"]
        with torch.autocast(image.device.type, enabled=False):
            worn = transform(protected.float(), random)
            with torch.no_grad():
                clean = transform(image.float(), torch.Generator().set_state(state))
        return self.ensemble.loss(clean, worn, batch["prompt"], seed, *self._process(), batch.get("video"))

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
        loss, parts = self.ensemble.first.loss(image, protector(image, self.epsilon), prompts, torch.Generator().manual_seed(seed))
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
            data, size = getattr(self.trainer, "datamodule", None), (self.surrogate.height, self.surrogate.width)
            clips = (lambda people: data.test_references(people, *size)) if isinstance(data, PhotoDataModule) else None
            trials, note = with_identity(trials, judges.identity, clips)
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
        configs = self.ensemble.configs
        first = next(iter(configs.values()))
        return {
            "epsilon": self.epsilon,
            "protects_against": ", ".join(configs),
            "surrogate": next(iter(configs)),
            "objective": type(self.ensemble.objective).__name__,
            "taps": list(self.surrogate.taps),
            "size": f"{first.num_frames} frames of {first.height}x{first.width}",
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
