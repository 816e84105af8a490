"""Second stage of the second embedded world: the U-Net learns to animate a photo, and CLIP to embed it, from the same loss.

Denoising of latents to which noise is added (EDM, arXiv 2206.00364) in the form in which `StableVideoDiffusionPipeline` will
ask: the network answers with the velocity (arXiv 2202.00512) and is told a quarter of the logarithm of the noise level.
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, cast

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from anti_i2v.portraits.training import unet_pipeline
from anti_i2v.portraits.training.optimizer import adamw
from anti_i2v.portraits.training.pipeline import Saveable, save_index, save_part
from anti_i2v.portraits.training.stage import Stage
from anti_i2v.resources import find_folder
from anti_i2v.training.ema import decay_at, frozen_copy, update_average

if TYPE_CHECKING:
    from diffusers import StableVideoDiffusionPipeline


class UnetBatch(TypedDict):
    """A batch of `UnetLatentData`."""

    latents: Tensor
    image_latents: Tensor
    photo: Tensor
    motion: Tensor
    face: Tensor


def noised(latents: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
    """(x_0 + s ε) / √(s² + 1), what the scheduler's scaling makes of noisy latents.

    Args:
        latents: (B, T, C, h, w), scaled.
        sigma: (B,) standard deviation of the noise.
        noise: Like `latents`, standard normal.
    """
    s = sigma.view(-1, 1, 1, 1, 1)
    return (latents + s * noise) / (s.square() + 1.0).sqrt()


def velocity(latents: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
    """(ε - s x_0) / √(s² + 1): the answer from which the scheduler's step gets x_0 back. Shapes as in `noised`."""
    s = sigma.view(-1, 1, 1, 1, 1)
    return (noise - s * latents) / (s.square() + 1.0).sqrt()


def sample_sigma(count: int, mean: float, deviation: float, generator: torch.Generator) -> Tensor:
    """Noise levels (count,): log-normal, one from each of `count` equally likely ranges, in random order."""
    even = (torch.randperm(count, generator=generator) + torch.rand(count, generator=generator)) / count
    normal: Tensor = torch.special.ndtri(even.clamp(1e-4, 1.0 - 1e-4))
    return (mean + deviation * normal).exp()


class UnetDenoiserModule(Stage):
    """Trains U-Net and image encoder and writes the rest of the world folder after every validation and at the end.

    The folder gets the running mean of the weights (EMA), and is complete from the first writing on:
    `DiffusionPipeline.from_pretrained(folder)`.

    The photo's latent says all that its embedding does, so an embedding that is never alone would stay empty: for some clips
    the latent is left out. For others both are, for classifier-free guidance.

    Args:
        folder: World folder that holds the trained autoencoder.
        num_frames: Frames of a clip.
        channels: Channels of each level of the U-Net, multiples of 32.
        layers: Residual blocks a level.
        heads: Attention heads of the U-Net.
        embedding: Width of the photo's embedding.
        image_width: Channels of the image encoder.
        image_layers: Its layers.
        image_heads: Its attention heads.
        patch: Side of its patches, out of 224 pixels.
        log_sigma_mean: Of the noise levels in training; clips of few, alike frames need more noise than pictures.
        log_sigma_deviation: The same, standard deviation.
        sigma_min: Last noise level of the folder's sampler.
        sigma_max: First.
        latent_dropout: Share of clips without the photo's latent.
        photo_dropout: Share of clips without both.
        lr: Highest learning rate.
        warmup: Steps to reach it.
        weight_decay: Of AdamW.
        ema_decay: Of the running mean of the weights.
        face_weight: How much more a cell counts in the loss that the face covers, beside 1 of a wall's.
        start_from: World folder whose U-Net and image encoder to go on from, of the same sizes; None starts anew.
            Where the autoencoder has other channels, the first and the last convolution do, too.
        seed: Of noise levels, noise and what is left out.
    """

    def __init__(
        self,
        folder: str = "checkpoints/portrait-unet",
        num_frames: int = 9,
        channels: tuple[int, ...] = (64, 96),
        layers: int = 1,
        heads: int = 2,
        embedding: int = 64,
        image_width: int = 96,
        image_layers: int = 3,
        image_heads: int = 3,
        patch: int = 32,
        log_sigma_mean: float = 0.7,
        log_sigma_deviation: float = 1.6,
        sigma_min: float = 0.01,
        sigma_max: float = 100.0,
        latent_dropout: float = 0.1,
        photo_dropout: float = 0.1,
        lr: float = 1e-3,
        warmup: int = 100,
        weight_decay: float = 0.01,
        ema_decay: float = 0.998,
        face_weight: float = 2.0,
        start_from: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.folder, self.unet_size = Path(folder), (channels, layers, heads, embedding, num_frames)
        self.image_size = (embedding, image_width, image_layers, image_heads, patch)
        self.log_sigma, self.sigma_range = (log_sigma_mean, log_sigma_deviation), (sigma_min, sigma_max)
        self.latent_dropout, self.photo_dropout = latent_dropout, photo_dropout
        self.lr, self.warmup, self.weight_decay, self.ema_decay, self.seed = lr, warmup, weight_decay, ema_decay, seed
        self.face_weight, self.start_from = face_weight, start_from
        self.networks: nn.ModuleDict | None = None
        self.ema: nn.ModuleDict | None = None
        self.world: list[StableVideoDiffusionPipeline] = []  # in a list: its frozen parts are no part of a checkpoint
        self.complete = False

    def configure_model(self) -> None:
        """Build the networks once, around the folder's autoencoder."""
        if self.networks is not None:
            return
        vae = unet_pipeline.load_autoencoder(self.folder)
        unet = unet_pipeline.build_denoiser(vae.config.latent_channels, *self.unet_size)
        image_encoder = unet_pipeline.build_image_encoder(*self.image_size)
        self.world = [unet_pipeline.build_pipeline(vae, unet, image_encoder, *self.sigma_range)]
        self.networks = nn.ModuleDict({"unet": unet, "image_encoder": image_encoder}).train()
        if self.start_from is not None:
            held = unet_pipeline.load_networks(find_folder(self.start_from))
            unet_pipeline.start_from(self.networks, held, ("unet.conv_in", "unet.conv_out"), self.start_from)
        self.ema = frozen_copy(self.networks)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW, warmup and cosine."""
        assert self.networks is not None
        return adamw(self.networks.parameters(), self.trainer, self.lr, self.warmup, self.weight_decay)

    def on_train_start(self) -> None:
        """Seed the draws; a resumed run goes on with others than the run it continues."""
        self.random = torch.Generator().manual_seed(self.seed + 7919 * self.trainer.global_step)

    def errors(self, networks: nn.ModuleDict, batch: UnetBatch, sigma: Tensor, noise: Tensor, left_out: Tensor | None = None) -> Tensor:
        """Squared error of the velocity, mean over channels: (B, T, h, w).

        Args:
            networks: U-Net and image encoder.
            batch: Of `UnetLatentData`.
            sigma: (B,) standard deviation of the noise.
            noise: Like the batch's latents.
            left_out: (B,) in [0, 1): below `photo_dropout` nothing of the photo is shown, in the next `latent_dropout` only its embedding.
        """
        latents, photo, motion = batch["latents"], batch["image_latents"], batch["motion"]
        # On a CPU in bf16, the backward pass of the fused attention kernel is the slow one.
        with sdpa_kernel(SDPBackend.MATH) if latents.device.type == "cpu" else nullcontext():
            embeds = unet_pipeline.embed(networks["image_encoder"], self.world[0].feature_extractor, batch["photo"])
            if left_out is not None:
                embeds = embeds * (left_out >= self.photo_dropout).view(-1, 1, 1)
                photo = photo * (left_out >= self.photo_dropout + self.latent_dropout).view(-1, 1, 1, 1, 1)
            constant = torch.ones_like(motion)
            hints = torch.stack([(unet_pipeline.FPS - 1) * constant, motion, unet_pipeline.NOISE_AUG_STRENGTH * constant], dim=1)
            answer: Tensor = networks["unet"](
                torch.cat([noised(latents, sigma, noise), photo.expand(-1, latents.shape[1], -1, -1, -1)], dim=2),
                0.25 * sigma.log(),
                encoder_hidden_states=embeds,
                added_time_ids=hints,
                return_dict=False,
            )[0]
        return (answer.float() - velocity(latents, sigma, noise)).square().mean(2)

    def training_step(self, batch: UnetBatch, batch_idx: int) -> Tensor:
        """One draw of noise levels, noise and what is left out."""
        assert self.networks is not None
        latents = batch["latents"]
        sigma = sample_sigma(len(latents), *self.log_sigma, self.random).to(latents)
        noise = torch.randn(latents.shape, generator=self.random).to(latents)
        left_out = torch.rand(len(latents), generator=self.random).to(latents)
        errors = self.errors(self.networks, batch, sigma, noise, left_out)
        weight = 1.0 + self.face_weight * batch["face"]
        self.log("train/loss", errors.detach().mean(), prog_bar=True)
        return (weight * errors).sum() / weight.sum()

    def on_train_batch_end(self, outputs: object, batch: object, batch_idx: int) -> None:
        """Average the weights."""
        assert self.ema is not None
        assert self.networks is not None
        update_average(self.ema, self.networks, decay_at(self.trainer.global_step, self.ema_decay))

    def validation_step(self, batch: UnetBatch, batch_idx: int) -> None:
        """Loss of the averaged weights at four fixed noise levels, the same noise every time; and with the embedding alone."""
        assert self.ema is not None
        latents = batch["latents"]
        random = torch.Generator().manual_seed(self.seed + batch_idx)
        losses, face, inside = {}, batch["face"], []
        for level in (0.5, 2.0, 8.0, 32.0):
            noise = torch.randn(latents.shape, generator=random).to(latents)
            sigma = torch.full((len(latents),), level, device=latents.device)
            errors = self.errors(self.ema, batch, sigma, noise)
            losses[f"val/loss_{level:g}"] = errors.mean()
            inside.append((errors * face).sum() / face.sum().clamp_min(1e-6))
        alone = torch.full_like(sigma, self.photo_dropout)
        self.log("val/loss_32_embedding_alone", self.errors(self.ema, batch, sigma, noise, alone).mean(), batch_size=len(latents))
        self.log_dict(losses, batch_size=len(latents))
        self.log("val/face", torch.stack(inside).mean(), prog_bar=True, batch_size=len(latents))
        self.log("val/loss", torch.stack(list(losses.values())).mean(), prog_bar=True, batch_size=len(latents))

    def write(self) -> None:
        """Write everything but the autoencoder: U-Net (EMA, fp16), image encoder (EMA), the rest and, last, the index."""
        assert self.ema is not None
        world = self.world[0]
        save_part(cast(Saveable, self.ema["unet"]), self.folder / "unet")
        # fp32: transformers, unlike diffusers, loads a network in the type of its file.
        save_part(cast(Saveable, self.ema["image_encoder"]), self.folder / "image_encoder", torch.float32)
        if self.complete:
            return
        save_part(world.feature_extractor, self.folder / "feature_extractor")
        save_part(world.scheduler, self.folder / "scheduler")
        save_index(world, self.folder)
        self.complete = True
