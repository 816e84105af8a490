"""Second stage of the Portraits' video models: a denoiser learns to animate a photo, on the latents of the first stage."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypedDict, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from anti_i2v.portraits.training.parts import load_part, save_index, start_from
from anti_i2v.pretraining.folder import save_part
from anti_i2v.pretraining.stage import Stage
from anti_i2v.resources import find_folder
from anti_i2v.training.ema import decay_at, frozen_copy, update_average

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline


class DenoiserBatch(TypedDict):
    """What every batch has: latents of clips, and the face's share of each of their cells."""

    latents: Tensor
    face: Tensor


B = TypeVar("B", bound=DenoiserBatch)


def even_shares(count: int, generator: torch.Generator) -> Tensor:
    """Values (count,) in (0, 1), one from each of `count` equal shares, in random order: every batch sees the whole range."""
    return (torch.randperm(count, generator=generator) + torch.rand(count, generator=generator)) / count


def plain_attention(latents: Tensor) -> AbstractContextManager[None]:
    """On a CPU in bf16, the backward pass of the fused attention kernel takes half of a step; the plain one hardly anything."""
    return sdpa_kernel(SDPBackend.MATH) if latents.device.type == "cpu" else nullcontext()


class DenoiserStage(Stage, Generic[B]):
    """Trains a denoiser and writes the rest of the pipeline folder after every validation and at the end.

    The folder gets the running mean of the weights (EMA), and is complete from the first writing on:
    `DiffusionPipeline.from_pretrained(folder)`.
    """

    levels: tuple[float, ...]
    """Noise levels of the validation."""
    latent_layers: tuple[str, ...] = ()
    """Layers whose size depends on the autoencoder's; there the weights of `start_from` may not fit."""
    fixed_parts: tuple[str, ...]
    """Parts of the pipeline that are not trained."""

    def __init__(
        self,
        folder: str,
        lr: float,
        warmup: int,
        weight_decay: float,
        ema_decay: float,
        face_weight: float,
        start_from: str | None,
        seed: int,
    ) -> None:
        super().__init__()
        self.folder, self.face_weight, self.start_from = Path(folder), face_weight, start_from
        self.lr, self.warmup, self.weight_decay, self.ema_decay, self.seed = lr, warmup, weight_decay, ema_decay, seed
        self.network: nn.Module | None = None
        self.ema: nn.Module | None = None
        self.pipeline: list[DiffusionPipeline] = []  # in a list: its frozen parts are no part of a checkpoint
        self.complete = False

    @abstractmethod
    def build(self) -> tuple[nn.Module, DiffusionPipeline]:
        """The untrained network, and a pipeline of it and the folder's autoencoder."""

    @abstractmethod
    def sample_sigma(self, count: int) -> Tensor:
        """Noise levels of a training batch (count,)."""

    @abstractmethod
    def with_dropout(self, batch: B) -> B:
        """A training batch of which some clips lack what they are conditioned on, for classifier-free guidance."""

    @abstractmethod
    def errors(self, network: nn.Module, batch: B, sigma: Tensor, noise: Tensor) -> Tensor:
        """Squared error of what the network is to answer, mean over channels.

        Args:
            network: The one in training, or its mean.
            batch: Of this stage's data.
            sigma: (B,) noise levels.
            noise: Like the batch's latents, standard normal.

        Returns:
            (B, frames that are scored, h, w).
        """

    @abstractmethod
    def parts(self, network: nn.Module) -> dict[str, tuple[nn.Module, torch.dtype]]:
        """Folder of each trained part → the part, and the type that it is written in."""

    def face(self, batch: B) -> Tensor:
        """The face's share of each cell that `errors` gives."""
        return batch["face"]

    def configure_model(self) -> None:
        """Build the network once, around the folder's autoencoder."""
        if self.network is not None:
            return
        self.network, pipeline = self.build()
        self.pipeline = [pipeline]
        if self.start_from is not None:
            folder, remedy = find_folder(self.start_from), "give the folder of a trained pipeline, e.g. portrait-dit or portrait-unet"
            for name, (part, _) in self.parts(self.network).items():
                start_from(part, load_part(type(part), folder, name, remedy), self.latent_layers, self.start_from)
        self.ema = frozen_copy(self.network)

    def training_step(self, batch: B, batch_idx: int) -> Tensor:
        """One draw of noise levels, noise and what is left out."""
        assert self.network is not None
        latents = batch["latents"]
        sigma = self.sample_sigma(len(latents)).to(latents)
        noise = torch.randn(latents.shape, generator=self.random).to(latents)
        errors = self.errors(self.network, self.with_dropout(batch), sigma, noise)
        weight = 1.0 + self.face_weight * self.face(batch)
        self.log("train/loss", errors.detach().mean(), prog_bar=True)
        return (weight * errors).sum() / weight.sum()

    def on_train_batch_end(self, outputs: object, batch: object, batch_idx: int) -> None:
        assert self.ema is not None
        assert self.network is not None
        update_average(self.ema, self.network, decay_at(self.trainer.global_step, self.ema_decay))

    def validation_step(self, batch: B, batch_idx: int) -> None:
        """Loss of the averaged weights at four fixed noise levels, the same noise every time."""
        assert self.ema is not None
        latents, face, inside = batch["latents"], self.face(batch), []
        random = torch.Generator().manual_seed(self.seed + batch_idx)
        losses = {}
        for level in self.levels:
            noise = torch.randn(latents.shape, generator=random).to(latents)
            errors = self.errors(self.ema, batch, torch.full((len(latents),), level, device=latents.device), noise)
            losses[f"val/loss_{level:g}"] = errors.mean()
            inside.append((errors * face).sum() / face.sum().clamp_min(1e-6))
        self.log_dict(losses, batch_size=len(latents))
        self.log("val/face", torch.stack(inside).mean(), prog_bar=True, batch_size=len(latents))
        self.log("val/loss", torch.stack(list(losses.values())).mean(), prog_bar=True, batch_size=len(latents))

    def write(self) -> None:
        """Write everything but the autoencoder: the trained parts (EMA), once the others and, last, the index."""
        assert self.ema is not None
        for name, (part, dtype) in self.parts(self.ema).items():
            save_part(part, self.folder / name, dtype)
        if self.complete:
            return
        for name in self.fixed_parts:
            save_part(getattr(self.pipeline[0], name), self.folder / name)
        save_index(self.pipeline[0], self.folder)
        self.complete = True
