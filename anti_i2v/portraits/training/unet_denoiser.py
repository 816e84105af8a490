"""Second stage of the second video model: the U-Net learns to animate a photo, and CLIP to embed it, from the same loss.

Denoising of latents to which noise is added (EDM, arXiv 2206.00364) in the form in which `StableVideoDiffusionPipeline` will
ask: the network answers with the velocity (arXiv 2202.00512) and is given a quarter of the logarithm of the noise level.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NotRequired

import torch
from torch import Tensor, nn

from anti_i2v.portraits.training import unet_pipeline
from anti_i2v.portraits.training.denoiser_stage import DenoiserBatch, DenoiserStage, even_shares, plain_attention

if TYPE_CHECKING:
    from diffusers import StableVideoDiffusionPipeline


class UnetBatch(DenoiserBatch):
    """A batch of `UnetLatentData`.

    `dropout` (B,) in [0, 1): below `photo_dropout` nothing of the photo is shown, in the next `latent_dropout` only its embedding.
    """

    image_latents: Tensor
    photo: Tensor
    motion: Tensor
    dropout: NotRequired[Tensor]


def add_noise(latents: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
    """(x_0 + s ε) / √(s² + 1), what the scheduler's scaling makes of noisy latents.

    Args:
        latents: (B, T, C, h, w), scaled.
        sigma: (B,) standard deviation of the noise.
        noise: Like `latents`, standard normal.
    """
    s = sigma.view(-1, 1, 1, 1, 1)
    return (latents + s * noise) / (s.square() + 1.0).sqrt()


def velocity(latents: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
    """(ε - s x_0) / √(s² + 1): the answer from which the scheduler's step gets x_0 back. Shapes as in `add_noise`."""
    s = sigma.view(-1, 1, 1, 1, 1)
    return (noise - s * latents) / (s.square() + 1.0).sqrt()


def sample_sigma(count: int, mean: float, deviation: float, generator: torch.Generator) -> Tensor:
    """Noise levels (count,): log-normal, one from each of `count` equally likely ranges, in random order."""
    normal: Tensor = torch.special.ndtri(even_shares(count, generator).clamp(1e-4, 1.0 - 1e-4))
    return (mean + deviation * normal).exp()


class UnetDenoiserModule(DenoiserStage[UnetBatch]):
    """Trains U-Net and image encoder of `portrait-unet`; see `DenoiserStage`.

    The photo's latent says all that its embedding does, so an embedding that is never alone would stay empty: for some clips
    the latent is left out. For others both are, for classifier-free guidance.

    Args:
        folder: Pipeline folder that holds the trained autoencoder.
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
        start_from: Pipeline folder whose U-Net and image encoder to go on from, of the same sizes; None starts anew.
            Where the autoencoder has other channels, the first and the last convolution do, too.
        seed: Of noise levels, noise and what is left out.
    """

    levels = (0.5, 2.0, 8.0, 32.0)
    latent_layers = ("conv_in", "conv_out")
    fixed_parts = ("feature_extractor", "scheduler")

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
        super().__init__(folder, lr, warmup, weight_decay, ema_decay, face_weight, start_from, seed)
        self.unet_size = (channels, layers, heads, embedding, num_frames)
        self.image_size = (embedding, image_width, image_layers, image_heads, patch)
        self.log_sigma, self.sigma_range = (log_sigma_mean, log_sigma_deviation), (sigma_min, sigma_max)
        self.latent_dropout, self.photo_dropout = latent_dropout, photo_dropout

    def build(self) -> tuple[nn.Module, StableVideoDiffusionPipeline]:
        vae = unet_pipeline.load_autoencoder(self.folder)
        unet = unet_pipeline.build_denoiser(vae.config.latent_channels, *self.unet_size)
        image_encoder = unet_pipeline.build_image_encoder(*self.image_size)
        pipeline = unet_pipeline.build_pipeline(vae, unet, image_encoder, *self.sigma_range)
        return nn.ModuleDict({"unet": unet, "image_encoder": image_encoder}).train(), pipeline

    def parts(self, network: nn.Module) -> dict[str, tuple[nn.Module, torch.dtype]]:
        """Both networks; fp32: transformers, unlike diffusers, loads a network in the type of its file."""
        types = {"unet": torch.float16, "image_encoder": torch.float32}
        return {name: (network.get_submodule(name), dtype) for name, dtype in types.items()}

    def sample_sigma(self, count: int) -> Tensor:
        return sample_sigma(count, *self.log_sigma, self.random)

    def with_dropout(self, batch: UnetBatch) -> UnetBatch:
        return {**batch, "dropout": torch.rand(len(batch["latents"]), generator=self.random).to(batch["latents"])}

    def errors(self, network: nn.Module, batch: UnetBatch, sigma: Tensor, noise: Tensor) -> Tensor:
        """Of the velocity: (B, T, h, w)."""
        latents, photo, motion = batch["latents"], batch["image_latents"], batch["motion"]
        unet, encoder = network.get_submodule("unet"), network.get_submodule("image_encoder")
        with plain_attention(latents):
            embeds = unet_pipeline.embed(encoder, self.pipeline[0].feature_extractor, batch["photo"])
            if "dropout" in batch:
                embeds = embeds * (batch["dropout"] >= self.photo_dropout).view(-1, 1, 1)
                photo = photo * (batch["dropout"] >= self.photo_dropout + self.latent_dropout).view(-1, 1, 1, 1, 1)
            constant = torch.ones_like(motion)
            hints = torch.stack([(unet_pipeline.FPS - 1) * constant, motion, unet_pipeline.NOISE_AUG_STRENGTH * constant], dim=1)
            answer: Tensor = unet(
                torch.cat([add_noise(latents, sigma, noise), photo.expand(-1, latents.shape[1], -1, -1, -1)], dim=2),
                0.25 * sigma.log(),
                encoder_hidden_states=embeds,
                added_time_ids=hints,
                return_dict=False,
            )[0]
        return (answer.float() - velocity(latents, sigma, noise)).square().mean(2)

    def validation_step(self, batch: UnetBatch, batch_idx: int) -> None:
        """Also with the embedding alone, at the highest level."""
        super().validation_step(batch, batch_idx)
        assert self.ema is not None
        latents = batch["latents"]
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(self.seed + batch_idx)).to(latents)
        sigma = torch.full((len(latents),), self.levels[-1], device=latents.device)
        alone: UnetBatch = {**batch, "dropout": torch.full_like(sigma, self.photo_dropout)}
        self.log("val/loss_32_embedding_alone", self.errors(self.ema, alone, sigma, noise).mean(), batch_size=len(latents))
