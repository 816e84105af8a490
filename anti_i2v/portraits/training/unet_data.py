"""What the denoiser of the second embedded world is fed with: latents of clips, and the photo by both of its routes."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from anti_i2v.portraits import ClipBatch
from anti_i2v.portraits.training import unet_pipeline
from anti_i2v.portraits.training.bank import Rows
from anti_i2v.portraits.training.data import BankData, Batch


class UnetLatentData(BankData):
    """Scaled latents of clips, the photo they start from, its latent with noise on the photo, and the amount of motion.

    Args:
        folder: World folder whose trained autoencoder encodes.
        batch_size: Clips in a batch.
        num_frames: Frames of a clip.
        size: Height and width in pixels.
        capacity: Clips the bank holds.
        start: Clips encoded before the first step; the bank then grows to `capacity`.
        fresh: Clips encoded a step.
        validation_clips: Clips of the validation split.
        seed: Of the draws.
    """

    def __init__(
        self,
        folder: str = "checkpoints/portrait-unet",
        batch_size: int = 8,
        num_frames: int = 9,
        size: int = 64,
        capacity: int = 8192,
        start: int = 1024,
        fresh: float = 0.5,
        validation_clips: int = 32,
        seed: int = 0,
    ) -> None:
        super().__init__(num_frames, size, capacity, start, fresh, validation_clips, seed)
        self.folder, self.batch_size = folder, batch_size
        self.random = torch.Generator().manual_seed(seed + 1)

    def setup(self, stage: str) -> None:
        """Load the autoencoder, then fill the bank."""
        self.vae = unet_pipeline.load_autoencoder(Path(self.folder))
        if self.trainer is not None:
            self.vae.to(self.trainer.strategy.root_device)
        super().setup(stage)

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
