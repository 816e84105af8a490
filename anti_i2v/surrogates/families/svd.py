"""Stable Video Diffusion: a U-Net that has no prompt. The photo reaches it by two routes.

The autoencoder's latent of the photo, with a little noise on its pixels, stands beside the noisy latents of every frame, and
an embedding of the photo by CLIP is what cross-attention reads. The model alone decides how the person moves.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from anti_i2v.imaging.tensors import unit
from anti_i2v.surrogates.autoencoders.classes import decode_pixels, encode_pixels
from anti_i2v.surrogates.draw import Draw, Tensors
from anti_i2v.surrogates.families.shared import check_length, check_size, frames_of_photos
from anti_i2v.surrogates.pipeline import PipelineSurrogate

if TYPE_CHECKING:
    from diffusers import SchedulerMixin

CLIP_SIZE = 224
"""Height and width at which the pipeline gives CLIP a photo, whatever the size of either."""


def resize_for_clip(pixels: Tensor) -> Tensor:
    """Photos `(B, 3, H, W)` in [-1, 1] at the size CLIP sees, `(B, 3, 224, 224)` about [0, 1], by the pipeline's own resizing."""
    from diffusers.pipelines.stable_video_diffusion.pipeline_stable_video_diffusion import _resize_with_antialiasing

    resized: Tensor = _resize_with_antialiasing(pixels, (CLIP_SIZE, CLIP_SIZE))
    return (resized + 1) / 2


class SVDSurrogate(PipelineSurrogate):
    """A frozen `StableVideoDiffusionPipeline`, with the hints its call has by default."""

    denoiser_name = "unet"
    denoiser_names = ("unet",)
    has_text = False

    fps = 7
    motion_bucket_id = 127
    noise_aug_strength = 0.02
    """Standard deviation of the noise on the photo, which is in [-1, 1] there."""

    image_mean: Tensor
    image_std: Tensor

    def _prepare(self) -> None:
        self.image_encoder: nn.Module = self.pipeline.image_encoder
        scheduler = self._schedule(self.steps)
        self._levels: list[float] = scheduler.sigmas.tolist()
        self._start = float(scheduler.init_noise_sigma)
        for name in ("image_mean", "image_std"):
            self.register_buffer(name, torch.tensor(getattr(self.pipeline.feature_extractor, name)).view(1, 3, 1, 1), persistent=False)

    def check_sizes(self) -> tuple[int, ...]:
        """`(frames, channels, latent height, latent width)`."""
        space = self.pipeline.vae_scale_factor
        check_size("SVD", self.height, self.width, max(8, space))  # the pipeline itself insists on 8
        check_length("SVD", self.num_frames, 1)
        return (self.num_frames, self.pipeline.unet.config.in_channels // 2, self.height // space, self.width // space)

    @property
    def token_frames(self) -> int:
        return self.num_frames

    def image_noise_shape(self, batch: int) -> tuple[int, ...]:
        """`(B, 3, height, width)`."""
        return (batch, 3, self.height, self.width)

    def noise_shares(self, scheduler: SchedulerMixin) -> Tensor:
        """Standard deviations of noise added to latents → shares of noise."""
        sigmas = super().noise_shares(scheduler)
        return sigmas / (1 + sigmas)

    def encode_prompts(self, prompts: list[str]) -> dict[str, Tensor]:
        """Nothing: there are no prompts."""
        return {}

    def condition(self, image: Tensor, image_noise: Tensor | None = None) -> dict[str, Tensor]:
        """`latents` `(B, channels, h, w)`, not scaled, and `image_embeds` `(B, 1, channels)`; CLIP sees the photo without noise."""
        pixels = unit(image) * 2 - 1
        noisy_pixels = pixels if image_noise is None else pixels + self.noise_aug_strength * image_noise
        embeds = self.image_encoder((resize_for_clip(pixels) - self.image_mean) / self.image_std).image_embeds
        return {"latents": encode_pixels(self.vae, noisy_pixels), "image_embeds": embeds.unsqueeze(1)}

    def noisy_latents(self, condition: Tensors, draw: Draw) -> Tensor:
        """See `FrozenPipeline.noisy_latents`; noise of standard deviation s is added, and the sum divided by √(s² + 1)."""
        level = self._levels[draw.step]
        noise = draw.noise * (self._start if draw.step == 0 else level)
        return (noise if draw.step == 0 else self.clip_latents(condition, draw) + noise) / math.sqrt(level**2 + 1)

    def clip_latents(self, condition: Tensors, draw: Draw) -> Tensor:
        """See `FrozenPipeline.clip_latents`; the photo's latents are not scaled yet."""
        if draw.reference is not None:
            return draw.reference
        return condition["latents"].detach().unsqueeze(1) * float(self.vae.config.scaling_factor)

    def encode_clip(self, video: Tensor) -> Tensor:
        latents = encode_pixels(self.vae, unit(video.flatten(0, 1)) * 2 - 1)
        return latents.reshape(*video.shape[:2], *latents.shape[1:]) * float(self.vae.config.scaling_factor)

    def prediction_error(self, prediction: Tensor, condition: Tensors, draw: Draw) -> Tensor:
        """See `FrozenPipeline.prediction_error`.

        The true value is the velocity (ε - s x) / √(s² + 1) of noise s ε on the clip x (arXiv 2206.00364).
        """
        level = self._levels[draw.step]
        velocity = (draw.noise - level * self.clip_latents(condition, draw)) / math.sqrt(level**2 + 1)
        return (prediction - velocity).transpose(1, 2)

    def inputs(self, condition: Tensors, text: Tensors, latents: Tensor, timestep: Tensor) -> dict[str, object]:
        """The photo's latent beside those of every frame; frames per second less one, as SVD was trained."""
        photo = condition["latents"].unsqueeze(1).expand(-1, latents.shape[1], -1, -1, -1)
        hints = torch.tensor([[self.fps - 1, self.motion_bucket_id, self.noise_aug_strength]], device=latents.device)
        return {
            "sample": torch.cat([latents, photo], dim=2),
            "timestep": timestep,
            "encoder_hidden_states": condition["image_embeds"],
            "added_time_ids": hints.expand(len(latents), -1),
        }

    def group_by_photo(self, value: Tensor, batch: int) -> Tensor:
        return frames_of_photos(value, batch, self.num_frames)

    def reconstruct(self, condition: Tensors) -> Tensor:
        """See `Surrogate.reconstruct`: a clip of one frame for each photo, of its latent, which is not scaled."""
        with self._float32():
            return unit(decode_pixels(self.vae, condition["latents"]) / 2 + 0.5)

    def decode(self, latents: Tensor) -> Tensor:
        """Latents `(B, frames, channels, h, w)` → clips `(B, num_frames, 3, height, width)`."""
        with self._float32():
            flat = latents.flatten(0, 1) / self.vae.config.scaling_factor
            frames: Tensor = self.vae.decode(flat, num_frames=self.num_frames, return_dict=False)[0]
        return unit(frames / 2 + 0.5).reshape(len(latents), self.num_frames, *frames.shape[1:])
