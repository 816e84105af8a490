"""First stage of the second video model: the autoencoder of Stable Video Diffusion."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.portraits.training import unet_pipeline
from anti_i2v.portraits.training.autoencoder import AutoencoderStage
from anti_i2v.portraits.training.parts import start_from
from anti_i2v.resources import find_folder

if TYPE_CHECKING:
    from diffusers import ModelMixin


class UnetAutoencoderModule(AutoencoderStage):
    """Trains the autoencoder of `portrait-unet`, Stable Video Diffusion's.

    The pipeline knows one scale for all latent channels, so the folder's weights are rescaled until every channel has a mean
    square of 1.

    Args:
        folder: Pipeline folder to write.
        channels: Channels of each level, multiples of 32; each level after the first halves height and width.
        latent_channels: Channels of the latent.
        layers: Residual blocks a level.
        lr: Highest learning rate.
        warmup: Steps to reach it.
        latent_noise: See `AutoencoderModule`, also for what follows.
        latent_penalty: Weight of the latent's mean square.
        face_weight: How much more a pixel of the face counts.
        chroma_weight: How much colour differences count.
        resume_weights: Start from the autoencoder that the folder holds.
        start_from: Pipeline folder whose autoencoder to start from, of the same channels; those of the latent may differ.
        decoder_only: Leave encoder and latents as the folder has them.
        likeness_weight: Of `FaceLoss`.
    """

    networks = unet_pipeline
    channel_axis = 2

    def __init__(
        self,
        folder: str = "checkpoints/portrait-unet",
        channels: tuple[int, ...] = (32, 32, 64, 64),
        latent_channels: int = 16,
        layers: int = 1,
        lr: float = 4e-3,
        warmup: int = 50,
        latent_noise: float = 0.05,
        latent_penalty: float = 1e-4,
        face_weight: float = 4.0,
        chroma_weight: float = 0.5,
        resume_weights: bool = False,
        start_from: str | None = None,
        decoder_only: bool = False,
        likeness_weight: float = 0.0,
    ) -> None:
        weights = (latent_penalty, face_weight, chroma_weight)
        super().__init__(folder, latent_channels, lr, warmup, latent_noise, *weights, resume_weights, decoder_only, likeness_weight)
        if resume_weights and start_from is not None:
            raise UsageError(f"resume_weights goes on with {folder}, start_from with {start_from}; set one of them")
        self.size, self.start_from = (channels, latent_channels, layers), start_from

    def start(self) -> ModelMixin:
        """The autoencoder of one of the folders, or one with random weights."""
        if self.resume_weights:
            return unet_pipeline.load_autoencoder(self.folder)
        vae = unet_pipeline.build_autoencoder(*self.size)
        if self.start_from is not None:
            trained = unet_pipeline.load_autoencoder(find_folder(self.start_from))
            start_from(vae, trained, ("encoder.conv_out", "quant_conv", "decoder.conv_in"), self.start_from)
        return vae

    @property
    def latents_rms(self) -> Tensor:
        """Root of the mean square of each channel (C,); 1 where the latents stay as the folder has them."""
        return (self.latents_mean.square() + self.latents_std.square()).sqrt().clamp(min=1e-6)

    def finish(self, vae: ModelMixin) -> None:
        """Rescale the latents; the training's noise becomes the posterior's variance."""
        count, rms = self.size[1], self.latents_rms
        vae.quant_conv.weight[:count] /= rms.view(-1, 1, 1, 1)
        vae.quant_conv.bias[:count] /= rms
        vae.quant_conv.weight[count:] = 0.0
        vae.quant_conv.bias[count:] = 2.0 * (math.log(max(self.latent_noise, 1e-6)) - rms.log())
        vae.decoder.conv_in.weight *= rms.view(1, -1, 1, 1)
