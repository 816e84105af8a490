"""What the denoiser of the second video model is trained on: latents of clips, and the photo by both of its routes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from anti_i2v.portraits import ClipBatch
from anti_i2v.portraits.training import unet_pipeline
from anti_i2v.portraits.training.bank import Rows
from anti_i2v.portraits.training.data import Batch, EncodedData


class UnetLatentData(EncodedData):
    """Scaled latents of clips, the photo they start from, its latent with noise on it, and the amount of motion; see `EncodedData`."""

    networks = unet_pipeline

    @torch.no_grad()
    def form(self, batch: ClipBatch) -> Tensor:
        """One row a clip, (B, values) float16 on the CPU, since a bank keeps one tensor: see `batch` for what is in it.

        The photo is seen with 8 bits, and with noise on it by the autoencoder, as the pipeline does it.
        """
        video = batch.video.to(self.vae.device)
        photo = (video[:, 0] * 255.0).round() / 255.0
        noise = torch.randn(photo.shape, generator=self.random).to(photo)
        noised = photo + unet_pipeline.NOISE_AUG_STRENGTH / 2.0 * noise  # the strength is one of [-1, 1]
        latents = unet_pipeline.encode(self.vae, video) * self.vae.config.scaling_factor
        face = F.adaptive_avg_pool2d(batch.face_mask[:, :, 0], latents.shape[-2:]).to(latents)
        parts = (latents, unet_pipeline.encode(self.vae, noised.unsqueeze(1)), photo, unet_pipeline.motion_bucket(video), face)
        self.shapes = [part.shape[1:] for part in parts]
        return torch.cat([part.reshape(len(video), -1) for part in parts], dim=1).half().cpu()

    def batch(self, rows: Rows) -> Batch:
        """{"latents": (B, T, C, h, w), "image_latents": (B, 1, C, h, w), "photo": (B, 3, H, W), "motion": (B,), "face": (B, T, h, w)}."""
        pieces = torch.split(rows.values.float(), [shape.numel() for shape in self.shapes], dim=1)
        names = ("latents", "image_latents", "photo", "motion", "face")
        return {name: piece.reshape(-1, *shape) for name, piece, shape in zip(names, pieces, self.shapes, strict=True)}
