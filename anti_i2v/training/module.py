"""The LightningModule: trains a generator against a frozen surrogate, validates it on unseen people, tests it on their videos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from anti_i2v.budget import check_epsilon
from anti_i2v.data import PhotoBatch, PhotoDataModule
from anti_i2v.embedders.alignment import move_landmarks
from anti_i2v.errors import UsageError
from anti_i2v.generators import Generator
from anti_i2v.imaging.metrics import psnr
from anti_i2v.inference.windows import window_around
from anti_i2v.keys import KEY_SIZE
from anti_i2v.objectives import Objective
from anti_i2v.protector import Protector
from anti_i2v.surrogates import Surrogate
from anti_i2v.surrogates.draw import DECODED
from anti_i2v.training.adversary import Inversion, repainter
from anti_i2v.training.ema import WeightAverage, frozen_copy
from anti_i2v.training.ensemble import Ensemble, SurrogateConfig
from anti_i2v.training.feature_loss import feature_loss
from anti_i2v.training.muon import Muon
from anti_i2v.training.report import ClipReport
from anti_i2v.training.schedule import share_of_run, warmup_cosine
from anti_i2v.training.shipped_generator import ShippedGenerator
from anti_i2v.training.transforms import Transform
from anti_i2v.training.view import View, around, draw_view, jitter


class ProtectionModule(LightningModule):
    """Trains a generator so that protected photos lead the surrogate's features away from those of the photos.

    Only the generator and its running average are submodules: the surrogate is no part of checkpoints.

    Args:
        generator: The network to train.
        objective: What it minimises, on features.
        transform: What happens to a protected photo before the surrogate sees it (EOT).
        taps: Layers of the surrogate's denoiser, such as `blocks.11`; see `SurrogateConfig`, also for `taps_file`.
        surrogate: Pipeline folder, name of a shipped checkpoint, or hub id.
        surrogates: Several frozen models by name instead; then `taps`, `surrogate` and the sizes of the single one are not read.
        use: With several, a training step uses `one` of them, drawn by weight, or `all`.
        assign: With several processes, each has all of them (`every`), or members of its own (`by-rank`).
        weights: Generator folder or shipped name to start from, whose network then takes the place of `generator`;
            random weights by default. `validate` and `test` without it and without `--ckpt_path` take the shipped one.
        height: Of the surrogate's input, in pixels.
        width: Likewise.
        num_frames: Length of the clips.
        steps: Length of the surrogate's schedule.
        min_sigma: Training draws noise levels at least this high, where a video model decides what a clip shows.
        max_sigma: And at most this high.
        epsilon: Budget of validation, test and the exported generator, in 1/255.
        epsilon_low: Training draws each photo's budget from here, in 1/255,
        epsilon_high: up to here.
        lr: Highest learning rate.
        warmup_steps: Steps to reach it; then a cosine falls to 2 % at the trainer's last step or `max_time`.
        weight_decay: Of AdamW.
        muon: Train with Muon instead of AdamW.
        ema_decay: Of the running average of the weights.
        seed: Of noise, draws and budgets.
        judge: Folder of the judge of identity for `test`, or a shipped name; null leaves its columns out.
        actions: The same of the classifier of actions.
        view: What part of a protected photo the adversary uses, before `transform`; the whole photo by default.
        adversary: Who tries to undo the protection, before `view`; nobody by default.
        window_jitter: Training moves and scales each window by up to this share of its side: a face is never found quite exactly.
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
        view: View | None = None,
        adversary: Inversion | None = None,
        window_jitter: float = 0.1,
    ) -> None:
        super().__init__()
        self.epsilon = check_epsilon(epsilon)
        if not check_epsilon(epsilon_low) <= check_epsilon(epsilon_high):
            raise UsageError(f"epsilon_low {epsilon_low} is above epsilon_high {epsilon_high}; swap them")
        self.epsilon_low, self.epsilon_high = epsilon_low, epsilon_high
        if surrogates is None:
            if taps is None:
                raise UsageError("taps is empty; name layers of the surrogate's denoiser, such as --model.taps [decoded,photo]")
            one = SurrogateConfig(
                Path(surrogate), taps, height, width, num_frames, steps, min_sigma, max_sigma=max_sigma, taps_file=taps_file
            )
            surrogates = {one.source.name if one.source.is_dir() else one.source.as_posix(): one}
        elif taps is not None:
            raise UsageError(f"taps {taps} and surrogates {', '.join(surrogates)} are both given; each of the surrogates has its own taps")
        self.ensemble = Ensemble(surrogates, objective, use, assign)
        self.lr, self.warmup_steps, self.weight_decay, self.ema_decay = lr, warmup_steps, weight_decay, ema_decay
        self.muon, self.seed, self.judge, self.actions = muon, seed, judge, actions
        self.has_weights = weights is not None  # from a folder, a checkpoint or training, instead of random ones
        self.set_generator(generator if weights is None else Protector.from_pretrained(weights, backend="torch").generator)
        # A list hides a module from Lightning: it may not enter a checkpoint, be cast, or be trained.
        self._transform = [transform]
        self.view, self.adversary, self.window_jitter = view, adversary, window_jitter

    def set_generator(self, generator: Generator) -> None:
        """Train and evaluate this network from here on; its average starts as a copy."""
        self.generator = generator.train()
        self.ema = frozen_copy(generator)
        self._protectors = [Protector(self.generator, self.epsilon), Protector(self.ema, self.epsilon)]  # hidden as the transform is

    @property
    def protector(self) -> Protector:
        """The protector around the generator in training."""
        return self._protectors[0]

    @property
    def averaged_protector(self) -> Protector:
        """The protector around the averaged generator: what is judged and exported."""
        return self._protectors[1]

    @property
    def surrogate(self) -> Surrogate:
        """The first frozen video model, on this module's device: what validation and test look at."""
        return self.ensemble.first.surrogate

    @property
    def prompts(self) -> Sequence[str]:
        """Every prompt that a batch can carry; empty where that is not known."""
        data = getattr(self._trainer, "datamodule", None)
        return data.prompts if isinstance(data, PhotoDataModule) else ()

    # ---------------------------------------------------------------------------------------------------------- set-up
    def configure_callbacks(self) -> list[Callback]:
        """The parts of a run that are no step: the running average, the shipped generator as a fallback, the report of `test`."""
        return [WeightAverage(self.ema_decay), ShippedGenerator(), ClipReport(self.judge, self.actions)]

    def configure_model(self) -> None:
        """Load the surrogates of this process, once; Lightning calls this at every entry."""
        if self._trainer is not None:  # none where the module is used alone
            self.ensemble.rank, self.ensemble.processes = self._trainer.global_rank, self._trainer.world_size
        self.ensemble.load(self.prompts)
        if self.adversary is not None and self.adversary.tries > 1 and DECODED not in self.surrogate.taps:
            raise UsageError(
                f"adversary.tries is {self.adversary.tries}, and choosing among factors needs the decoded photo; "
                "add decoded to the taps of the first surrogate, or set tries to 1"
            )

    def _move_hidden(self) -> None:
        """Move to this module's device what Lightning does not see."""
        self.ensemble.to(self.device)
        self._transform[0].to(self.device)
        if self.adversary is not None:
            self.adversary.to(self.device)

    def on_fit_start(self) -> None:
        """See `_move_hidden`."""
        self._move_hidden()

    def on_validation_start(self) -> None:
        """See `_move_hidden`."""
        self._move_hidden()

    def on_test_start(self) -> None:
        """See `_move_hidden`."""
        self._move_hidden()

    # ------------------------------------------------------------------------------------------------------- training
    def training_step(self, batch: PhotoBatch, batch_idx: int) -> Tensor:
        """One step; see `PhotoBatch` for the batch. Every photo draws its own epsilon and key, the batch shares one noise level."""
        image, seed = batch["image"], self._step_seed(batch_idx)
        random = torch.Generator().manual_seed(seed)
        share = torch.rand(len(image), generator=random).to(image)
        epsilon = self.epsilon_low + (self.epsilon_high - self.epsilon_low) * share
        key = torch.randn(len(image), KEY_SIZE, generator=random).to(image)
        windows = around(batch["faces"]) if "faces" in batch else self.protector.find(image)
        if not any(windows):  # a step needs something to learn from: the middle of these photos, as if a face filled it
            windows = [[window_around(side / 2, other / 2, min(side, other))] for side, other in [image.shape[-2:]] * len(image)]
        windows = jitter(windows, self.window_jitter, random)
        protected = self.protector(image, epsilon, key, windows)
        other, alike, look = protected, image.new_zeros(()), draw_view(self.view, image, windows, random)
        seen = look(image)
        if self.adversary is not None:
            repaint = repainter(self.surrogate, seen, look)
            other, alike = self.adversary(image, protected, epsilon, windows, self.protector, random, repaint)
        clean, other = self._transform_both(seen, look(other), random)
        landmarks = move_landmarks(look.landmarks(batch["landmarks"]), seen.shape[-2:], clean.shape[-2:]) if "landmarks" in batch else None
        loss, parts = self.ensemble.feature_loss(clean, other, batch["prompt"], seed, batch.get("video"), landmarks)
        if self.adversary is not None and self.adversary.own:
            loss, parts = loss + self.adversary.independence * alike, parts | {"alike": alike.detach()}
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

    def _step_seed(self, batch_idx: int) -> int:
        """A seed of the step's number, so that an interrupted run draws what the uninterrupted one does.

        Processes with different members draw the same, so that together they compute the step of one that has them all.
        """
        group = len(self.ensemble.names) if self.ensemble.assign == "by-rank" else 1
        part = batch_idx % self.trainer.accumulate_grad_batches
        return (((self.seed * 1_000_003 + self.global_step) * 4099 + self.ensemble.rank // group) * 64 + part) % 2**57

    def _transform_both(self, image: Tensor, protected: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Both photos (B, 3, H, W) after the same transform (EOT).

        The clean photo goes through it too: otherwise the change that JPEG makes to any photo would count as protection.
        """
        transform, state = self._transform[0], random.get_state()
        with torch.autocast(image.device.type, enabled=False):
            other = transform(protected.float(), random)
            with torch.no_grad():
                clean = transform(image.float(), torch.Generator().set_state(state))
        return clean, other

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Log the norm of the gradient, before clipping, and the learning rate."""
        norms = [p.grad.norm() for p in self.generator.parameters() if p.grad is not None]
        self.log_dict({"train/grad_norm": torch.stack(norms).norm(), "train/lr": optimizer.param_groups[0]["lr"]})

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Muon or AdamW with warmup and a cosine over the run."""
        parameters = [p for p in self.generator.parameters() if p.requires_grad]
        optimizer: torch.optim.Optimizer = (
            Muon(parameters, self.lr) if self.muon else torch.optim.AdamW(parameters, lr=self.lr, weight_decay=self.weight_decay)
        )

        def rate(step: int) -> float:
            return warmup_cosine(step, self.warmup_steps, share_of_run(self.trainer, step))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    # ----------------------------------------------------------------------------------------------------- evaluation
    def validation_step(self, batch: PhotoBatch, batch_idx: int) -> None:
        """Loss and damage of features by the averaged generator on unseen people, and by equally strong noise; draws are fixed."""
        from anti_i2v.evaluation.runner import photo_measures

        protector, image, prompts, seed = self.averaged_protector, batch["image"], batch["prompt"], self.seed + batch_idx
        figures = photo_measures(self.surrogate, protector, image, prompts, self.epsilon, seed)
        member = self.ensemble.first
        text, draw = member.draw(prompts, torch.Generator().manual_seed(seed))
        if "landmarks" in batch:
            draw = replace(draw, landmarks=batch["landmarks"][:, 0])
        loss, parts = feature_loss(member.surrogate, member.objective, image, protector(image, self.epsilon), text, draw)
        losses = {"loss": loss, **{f"part/{name}": value for name, value in parts.items()}}
        self.log_dict({f"val/{name}": value for name, value in losses.items()}, batch_size=len(image), sync_dist=True)
        for name, values in figures.items():
            self.log(f"val/{name}", values.mean(), prog_bar=name == "damage", batch_size=len(values), sync_dist=True)

    def test_step(self, batch: PhotoBatch, batch_idx: int) -> None:
        """Nothing: the callback `ClipReport` animates and judges the batch."""

    def predict_step(self, batch: PhotoBatch, batch_idx: int) -> Tensor:
        """Protected photos, (B, 3, S, S) in [0, 1]; for files use `anti-i2v protect`."""
        return self.averaged_protector(batch["image"])

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
            **({"embedders": list(names)} if (names := self.ensemble.embedder_names) else {}),
        }

    def on_save_checkpoint(self, checkpoint: dict[str, object]) -> None:
        """Add what `anti-i2v export` needs to rebuild the generator without a config."""
        generator = {"class": type(self.generator).__name__, "config": self.generator.config()}
        checkpoint["anti_i2v"] = {"generator": generator, **self.facts()}

    def on_load_checkpoint(self, checkpoint: dict[str, object]) -> None:
        """Refuse a checkpoint of another network by name, before torch lists every weight that does not fit."""
        facts = checkpoint.get("anti_i2v")
        if not isinstance(facts, dict):
            raise UsageError("the checkpoint is not one of the protection training; give a .ckpt written by `fit` with this config")
        own = {"class": type(self.generator).__name__, "config": self.generator.config()}
        if facts["generator"] != own:
            raise UsageError(f"the checkpoint holds {facts['generator']}, the config describes {own}; use the config.yaml of its run")
        self.has_weights = True
