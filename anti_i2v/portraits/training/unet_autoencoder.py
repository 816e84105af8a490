"""First stage of the second embedded world: the autoencoder of Stable Video Diffusion learns to rebuild portraits and their clips."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.portraits.training import unet_pipeline
from anti_i2v.portraits.training.autoencoder import reconstruction_loss
from anti_i2v.portraits.training.likeness import FaceLoss
from anti_i2v.portraits.training.optimizer import scheduled
from anti_i2v.portraits.training.pipeline import save_part
from anti_i2v.portraits.training.stage import Stage
from anti_i2v.resources import find_folder
from anti_i2v.training.muon import Muon

if TYPE_CHECKING:
    from diffusers import AutoencoderKLTemporalDecoder


class UnetAutoencoderModule(Stage):
    """Trains the autoencoder and writes `FOLDER/vae` after every validation and at the end.

    The mean of the posterior is trained under fixed noise, as in the first world. The pipeline knows one scale for all latent
    channels, so the folder's weights are rescaled until every channel has a mean square of 1.

    Args:
        folder: World folder to write.
        channels: Channels of each level, multiples of 32; each level after the first halves height and width.
        latent_channels: Channels of the latent.
        layers: Residual blocks a level.
        lr: Highest learning rate.
        warmup: Steps to reach it.
        latent_noise: Standard deviation of the noise on the latent while training.
        latent_penalty: Weight of the mean square of the latent, which keeps its scale near the noise's.
        face_weight: How much more a pixel of the face counts.
        chroma_weight: How much colour differences count beside the rest.
        resume_weights: Start from the autoencoder that the folder holds instead of random weights.
        start_from: World folder whose autoencoder to start from, of the same channels; those of the latent may differ.
        decoder_only: Leave encoder and latents as the folder has them, so that a denoiser trained on them stays valid.
        likeness_weight: Of `FaceLoss` beside the pixels'.
    """

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
        super().__init__()
        if resume_weights and start_from is not None:
            raise UsageError(f"resume_weights goes on with {folder}, start_from with {start_from}; set one of them")
        if decoder_only and not resume_weights:
            raise UsageError("decoder_only keeps the encoder that the folder holds; set resume_weights too")
        self.folder, self.size = Path(folder), (channels, latent_channels, layers)
        self.start_from = start_from
        self.lr, self.warmup = lr, warmup
        self.latent_noise, self.latent_penalty = latent_noise, latent_penalty
        self.face_weight, self.chroma_weight, self.resume_weights = face_weight, chroma_weight, resume_weights
        self.decoder_only, self.likeness = decoder_only, FaceLoss(likeness_weight)
        self.vae: AutoencoderKLTemporalDecoder | None = None
        self.register_buffer("latents_rms", torch.ones(latent_channels))
        self.seen: list[Tensor] = []

    def configure_model(self) -> None:
        """Build the network once, when the trainer asks for it."""
        if self.vae is None:
            start = unet_pipeline.load_autoencoder(self.folder) if self.resume_weights else unet_pipeline.build_autoencoder(*self.size)
            if self.start_from is not None:
                held = unet_pipeline.load_autoencoder(find_folder(self.start_from))
                unet_pipeline.start_from(start, held, ("encoder.conv_out", "quant_conv", "decoder.conv_in"), self.start_from)
            self.vae = start.train().requires_grad_(True)
            if self.decoder_only:
                self.vae.encoder.requires_grad_(False)
                self.vae.quant_conv.requires_grad_(False)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Muon, warmup and cosine."""
        return scheduled(Muon([p for p in self.parameters() if p.requires_grad], self.lr), self.trainer, self.warmup)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Rebuild `batch["video"]` (B, T, 3, H, W) in [0, 1]; frames have T = 1."""
        assert self.vae is not None
        video = batch["video"]
        latents = unet_pipeline.encode(self.vae, video).float()
        rebuilt = unet_pipeline.decode(self.vae, latents + self.latent_noise * torch.randn_like(latents))
        loss = reconstruction_loss(rebuilt, video, 1.0 + self.face_weight * batch["face"], self.chroma_weight)
        kind = "frame" if video.shape[1] == 1 else "clip"
        self.log(f"train/loss_{kind}", loss, prog_bar=True)
        likeness: Tensor = self.likeness(rebuilt, video, batch["face"])
        self.log("train/unlike", likeness, prog_bar=True)
        return loss + likeness + self.latent_penalty * latents.square().mean()

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """PSNR of rebuilt clips and of the faces in them in dB, mean over clips; and the mean square of the latents."""
        assert self.vae is not None
        latents = unet_pipeline.encode(self.vae, batch["video"]).float()
        square = (unet_pipeline.decode(self.vae, latents) - batch["video"]).square()
        face = (square * batch["face"]).flatten(1).sum(1) / (3.0 * batch["face"]).flatten(1).sum(1).clamp(min=1.0)
        for name, error in (("val/psnr", square.flatten(1).mean(1)), ("val/psnr_face", face)):
            self.log(name, (-10.0 * error.clamp(min=1e-6).log10()).mean(), prog_bar=True, batch_size=len(error))
        self.seen.append(latents.square().mean((0, 1, 3, 4)))

    def on_validation_epoch_end(self) -> None:
        """Measure the latents and write the folder, so that the next stage can begin at any time."""
        rms, self.seen = torch.stack(self.seen).mean(0).sqrt(), []
        if not self.decoder_only:  # a denoiser knows the latents as they are
            self.latents_rms = rms
        super().on_validation_epoch_end()

    def write(self) -> None:
        """Write `FOLDER/vae`: fp16 weights whose latents have mean square 1, with the training's noise as the posterior's variance."""
        assert self.vae is not None
        vae = copy.deepcopy(self.vae)
        count, rms = self.size[1], self.latents_rms.clamp(min=1e-6)
        with torch.no_grad():
            vae.quant_conv.weight[:count] /= rms.view(-1, 1, 1, 1)
            vae.quant_conv.bias[:count] /= rms
            vae.quant_conv.weight[count:] = 0.0
            vae.quant_conv.bias[count:] = 2.0 * (math.log(max(self.latent_noise, 1e-6)) - rms.log())
            vae.decoder.conv_in.weight *= rms.view(1, -1, 1, 1)
        save_part(vae, self.folder / "vae")
