"""What the denoisers are trained on: clips that the autoencoder of their pipeline folder has encoded."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from anti_i2v.portraits import ClipBatch
from anti_i2v.portraits.training import pipeline, unet_pipeline
from anti_i2v.portraits.training.bank import Rows
from anti_i2v.portraits.training.data import Batch, ClipData
from anti_i2v.portraits.training.parts import Autoencoding


def face_share(mask: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """How much of each latent cell the face covers.

    Args:
        mask: (B, T, 1, H, W) in [0, 1].
        shape: t, h, w of the latents, of which the first frame stands for the first of the clip and each further one for as many as fit.

    Returns:
        (B, 1, t, h, w) in [0, 1].
    """
    video, (frames, height, width) = mask.transpose(1, 2), shape
    first = F.adaptive_avg_pool3d(video[:, :, :1], (1, height, width))
    return torch.cat([first, F.adaptive_avg_pool3d(video[:, :, 1:], (frames - 1, height, width))], dim=2)


class EncodedData(ClipData):
    """Clips that the autoencoder of a folder has encoded.

    Args:
        folder: Pipeline folder whose trained autoencoder encodes.
        batch_size: Clips in a batch.
        num_frames: Frames of a clip.
        size: Height and width in pixels.
        capacity: Clips the bank holds.
        start: Clips encoded before the first step; the bank then grows to `capacity`.
        fresh: Clips encoded a step.
        validation_clips: Clips of the validation split.
        seed: Of the draws.
    """

    networks: Autoencoding

    def __init__(
        self,
        folder: str,
        batch_size: int = 16,
        num_frames: int = 9,
        size: int = 128,
        capacity: int = 16384,
        start: int = 2048,
        fresh: float = 1.0,
        validation_clips: int = 64,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, num_frames, size, capacity, start, fresh, validation_clips, seed)
        self.folder = Path(folder)
        self.random = torch.Generator().manual_seed(seed + 1)

    def setup(self, stage: str) -> None:
        """Load the autoencoder, then fill the bank."""
        self.vae = self.networks.load_autoencoder(self.folder)
        if self.trainer is not None:
            self.vae.to(self.trainer.strategy.root_device)
        super().setup(stage)


class LatentData(EncodedData):
    """Normalised latents of clips with their prompts, for the denoiser of the first video model; see `EncodedData`."""

    networks = pipeline

    @torch.no_grad()
    def form(self, batch: ClipBatch) -> Tensor:
        """Normalised latents (B, C, 1 + (T - 1) / 2, H / 16, W / 16) and, as one more channel, `face_share`; on the CPU."""
        latents = pipeline.encode(self.vae, batch.video.to(self.vae.device))
        mean, std = pipeline.statistics(self.vae, latents)
        frames, height, width = latents.shape[2:]
        face = face_share(batch.face_mask, (frames, height, width))
        return torch.cat([((latents - mean) / std).cpu(), face], dim=1)

    def batch(self, rows: Rows) -> Batch:
        """{"latents": (B, C, t, h, w), "face": (B, 1, t, h, w) in [0, 1], "prompt": list of B, "action": (B,)}."""
        return {"latents": rows.values[:, :-1], "face": rows.values[:, -1:], "prompt": rows.prompts, "action": rows.action}


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
