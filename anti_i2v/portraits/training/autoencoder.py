"""First stage of the Portraits' video models: an autoencoder learns to reconstruct portraits and their clips."""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.portraits.training import pipeline
from anti_i2v.portraits.training.likeness import FaceLoss
from anti_i2v.portraits.training.parts import Autoencoding
from anti_i2v.pretraining.folder import save_part
from anti_i2v.pretraining.reconstruction import reconstruction_loss
from anti_i2v.pretraining.stage import Stage
from anti_i2v.surrogates.fast_wan_vae import accelerate_vae

if TYPE_CHECKING:
    from diffusers import ModelMixin


class AutoencoderStage(Stage):
    """Trains an autoencoder of clips and writes `FOLDER/vae` after every validation and at the end.

    The pipelines read only the mean of the posterior. So the mean is trained, under fixed noise that keeps the latent space smooth,
    and the folder's posterior is given that noise as its variance.
    """

    networks: Autoencoding
    """Encodes and decodes; latents have the shape that the pipeline gives them."""
    channel_axis: int
    """Of the latents."""

    def __init__(
        self, folder: str, latent_channels: int, lr: float, warmup: int, latent_noise: float, latent_penalty: float, face_weight: float,
        chroma_weight: float, resume_weights: bool, decoder_only: bool, likeness_weight: float
    ) -> None:  # fmt: skip
        super().__init__()
        if decoder_only and not resume_weights:
            raise UsageError("decoder_only keeps the encoder that the folder holds; set resume_weights too")
        self.folder, self.lr, self.warmup = Path(folder), lr, warmup
        self.latent_noise, self.latent_penalty = latent_noise, latent_penalty
        self.face_weight, self.chroma_weight = face_weight, chroma_weight
        self.resume_weights, self.decoder_only = resume_weights, decoder_only
        self.face_loss = FaceLoss(likeness_weight)
        self.vae: ModelMixin | None = None
        self.register_buffer("latents_mean", torch.zeros(latent_channels))
        self.register_buffer("latents_std", torch.ones(latent_channels))
        self.validation_latents: list[Tensor] = []

    @abstractmethod
    def start(self) -> ModelMixin:
        """The autoencoder to train, with the weights that it starts from."""

    @abstractmethod
    def finish(self, vae: ModelMixin) -> None:
        """Give a copy of the autoencoder what the pipeline expects of its latents and its posterior, in place."""

    def configure_model(self) -> None:
        if self.vae is None:
            self.vae = self.start().train().requires_grad_(True)
            if self.decoder_only:
                self.vae.encoder.requires_grad_(False)
                self.vae.quant_conv.requires_grad_(False)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Rebuild `batch["video"]` (B, T, 3, H, W) in [0, 1]; frames have T = 1."""
        video = batch["video"]
        latents = self.networks.encode(self.vae, video).float()
        rebuilt = self.networks.decode(self.vae, latents + self.latent_noise * torch.randn_like(latents))
        loss = reconstruction_loss(rebuilt, video, 1.0 + self.face_weight * batch["face"], self.chroma_weight)
        kind = "frame" if video.shape[1] == 1 else "clip"
        self.log(f"train/loss_{kind}", loss, prog_bar=True)
        face_loss: Tensor = self.face_loss(rebuilt, video, batch["face"])
        self.log("train/face_loss", face_loss, prog_bar=True)
        return loss + face_loss + self.latent_penalty * latents.square().mean()

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """PSNR of rebuilt clips and of the faces in them in dB, mean over clips; and the latents, for their statistics."""
        latents = self.networks.encode(self.vae, batch["video"]).float()
        square = (self.networks.decode(self.vae, latents) - batch["video"]).square()
        face = (square * batch["face"]).flatten(1).sum(1) / (3.0 * batch["face"]).flatten(1).sum(1).clamp(min=1.0)
        for name, error in (("val/psnr", square.flatten(1).mean(1)), ("val/psnr_face", face)):
            self.log(name, (-10.0 * error.clamp(min=1e-6).log10()).mean(), prog_bar=True, batch_size=len(error))
        self.validation_latents.append(latents.movedim(self.channel_axis, 0).flatten(1))

    def on_validation_epoch_end(self) -> None:
        """Measure the latents and write the folder, so that the next stage can begin at any time."""
        latents, self.validation_latents = torch.cat(self.validation_latents, 1), []
        if not self.decoder_only:  # a denoiser knows the latents as they are
            self.latents_mean, self.latents_std = latents.mean(1), latents.std(1)
        super().on_validation_epoch_end()

    def write(self) -> None:
        assert self.vae is not None
        vae = copy.deepcopy(self.vae)
        with torch.no_grad():
            self.finish(vae)
        save_part(vae, self.folder / "vae")


class AutoencoderModule(AutoencoderStage):
    """Trains the autoencoder of `portrait-dit`, Wan's; the folder states the statistics of its latents.

    Args:
        folder: Pipeline folder to write.
        base_dim: Channels of the first level.
        z_dim: Channels of the latent.
        dim_mult: Channels of the three levels as multiples of `base_dim`.
        num_res_blocks: Residual blocks a level.
        lr: Highest learning rate.
        warmup: Steps to reach it.
        latent_noise: Standard deviation of the noise on the latent while training.
        latent_penalty: Weight of the mean square of the latent, which keeps its scale near the noise's.
        face_weight: How much more a pixel of the face counts. At 0 the walls decide: 28 dB, and faces without eyes.
        chroma_weight: How much colour differences count beside the rest. At 0 faint colours of the light are lost.
        resume_weights: Start from the autoencoder that the folder holds instead of random weights.
        decoder_only: Leave encoder and latents as the folder has them, so that a denoiser trained on them stays valid.
        likeness_weight: Of `FaceLoss` beside the pixels'. At 0 the reconstructed face is a good picture of another person.
    """

    networks = pipeline
    channel_axis = 1

    def __init__(
        self,
        folder: str = "checkpoints/portrait-dit",
        base_dim: int = 32,
        z_dim: int = 24,
        dim_mult: tuple[int, int, int] = (1, 2, 2),
        num_res_blocks: int = 2,
        lr: float = 4e-3,
        warmup: int = 100,
        latent_noise: float = 0.05,
        latent_penalty: float = 1e-4,
        face_weight: float = 8.0,
        chroma_weight: float = 0.5,
        resume_weights: bool = False,
        decoder_only: bool = False,
        likeness_weight: float = 0.0,
    ) -> None:
        weights = (latent_penalty, face_weight, chroma_weight)
        super().__init__(folder, z_dim, lr, warmup, latent_noise, *weights, resume_weights, decoder_only, likeness_weight)
        self.size = (base_dim, z_dim, dim_mult, num_res_blocks)

    def start(self) -> ModelMixin:
        """The folder's autoencoder, or one with random weights."""
        start = pipeline.load_autoencoder(self.folder) if self.resume_weights else pipeline.build_autoencoder(*self.size)
        return accelerate_vae(start)

    def finish(self, vae: ModelMixin) -> None:
        """State the statistics of the latents; the training's noise becomes the posterior's variance."""
        if not self.decoder_only:
            vae.register_to_config(latents_mean=self.latents_mean.tolist(), latents_std=self.latents_std.tolist())
        variance = slice(vae.config.z_dim, None)
        vae.quant_conv.weight[variance] = 0.0
        vae.quant_conv.bias[variance] = 2.0 * math.log(max(self.latent_noise, 1e-6))
