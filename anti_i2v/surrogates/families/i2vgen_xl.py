"""I2VGen-XL: a U-Net with a prompt. The photo reaches it by two routes.

The autoencoder's latent of the photo stands beside the noisy latents of the first frame, and as a few tokens among the prompt's;
later frames have their place in the clip there instead. An embedding of the photo's middle by CLIP makes further tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anti_i2v.imaging.tensors import unit
from anti_i2v.surrogates.autoencoders.classes import decode_pixels, encode_pixels
from anti_i2v.surrogates.draw import Draw, Tensors
from anti_i2v.surrogates.families.shared import check_length, check_size, frames_of_photos, shares_of_alphas
from anti_i2v.surrogates.pipeline import PipelineSurrogate

if TYPE_CHECKING:
    from diffusers import SchedulerMixin

MULTIPLE = 8
"""The pipeline insists on it for height and width, whatever the autoencoder."""


def repeated_pixels(short: int, long: int) -> list[int]:
    """Which of `short` pixels PIL's box filter repeats at each of `long` places; computed as there, where it falls between two."""
    return [int((place + 0.5) * (short / long)) for place in range(long)]


class I2VGenXLSurrogate(PipelineSurrogate):
    """A frozen `I2VGenXLPipeline`, with the frame rate and the layer of the text encoder that its call has by default."""

    denoiser_name = "unet"
    denoiser_names = ("unet",)

    target_fps = 16
    clip_skip = 1

    image_mean: Tensor
    image_std: Tensor

    def _prepare(self) -> None:
        self.image_encoder: nn.Module = self.pipeline.image_encoder
        self._scale = float(self.pipeline.vae.config.scaling_factor)
        extractor = self.pipeline.feature_extractor
        self._clip_size = (extractor.crop_size["height"], extractor.crop_size["width"])
        for name in ("image_mean", "image_std"):
            self.register_buffer(name, torch.tensor(getattr(extractor, name)).view(1, 3, 1, 1), persistent=False)
        self.pipeline._guidance_scale = 1.0  # what the pipeline's call sets, and its text encoding reads
        encoder = self.pipeline.text_encoder
        if encoder is not None and not hasattr(encoder, "text_model"):
            # Since transformers 5 the layers lie here; the pipeline looks for them there. No submodule: that would be a circle.
            object.__setattr__(encoder, "text_model", encoder)

    def check_sizes(self) -> tuple[int, ...]:
        """`(channels, frames, latent height, latent width)`."""
        space = self.pipeline.vae_scale_factor
        check_size("I2VGen-XL", self.height, self.width, max(MULTIPLE, space))
        check_length("I2VGen-XL", self.num_frames, 1)
        return (self.pipeline.unet.config.in_channels, self.num_frames, self.height // space, self.width // space)

    def noise_shares(self, scheduler: SchedulerMixin) -> Tensor:
        """See `shares_of_alphas`.

        The first step starts from pure noise although its share is below 1: the published schedule leaves the noisiest out.
        """
        return shares_of_alphas(scheduler)

    def encode_prompts(self, prompts: list[str]) -> dict[str, Tensor]:
        """`encoder_hidden_states` `(prompts, length, channels)`: the states before the last layer."""
        embeds, _ = self.pipeline.encode_prompt(prompts, self.text_device, 1, clip_skip=self.clip_skip)
        return {"encoder_hidden_states": embeds}

    def text_shapes(self) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        return {
            "encoder_hidden_states": (
                (int(self.pipeline.tokenizer.model_max_length), self.pipeline.unet.config.cross_attention_dim),
                torch.float32,
            )
        }

    def condition(self, image: Tensor, image_noise: Tensor | None = None) -> dict[str, Tensor]:
        """`latents` `(B, channels, 1, h, w)`, scaled; `image_embeds` `(B, 1, channels)`."""
        latents = encode_pixels(self.vae, unit(image) * 2 - 1) * self._scale
        embeds = self.image_encoder((self.resize_for_clip(unit(image)) - self.image_mean) / self.image_std).image_embeds
        return {"latents": latents.unsqueeze(2), "image_embeds": embeds.unsqueeze(1)}

    def resize_for_clip(self, image: Tensor) -> Tensor:
        """The middle of photos, as wide and as high as the photo is wide, at CLIP's size; the pipeline rounds it to 8 bits.

        Where the photo is not that high, it is first enlarged by repeating pixels. The height can come out one short, as with
        the pipeline's usual 704 × 1280: then the topmost line is black, there as here.
        """
        scale = min(1.0, self.height / self.width)
        rows, columns = (round(side // scale) for side in (self.height, self.width))
        top, left = (rows - self.width) // 2, (columns - self.width) // 2
        enlarged = image[:, :, repeated_pixels(self.height, rows)][:, :, :, repeated_pixels(self.width, columns)]
        middle = F.pad(enlarged, (-left, self.width + left - columns, -top, self.width + top - rows))  # a negative pad cuts off
        resized: Tensor = F.interpolate(middle, self._clip_size, mode="bilinear", align_corners=False, antialias=True)
        return resized

    def noisy_latents(self, condition: Tensors, draw: Draw) -> Tensor:
        """See `FrozenPipeline.noisy_latents`; signal √ᾱ and noise √(1 - ᾱ) have the shares of `draw.sigma`, their squares sum to 1."""
        if draw.step == 0:
            return draw.noise
        alpha = self.pipeline.scheduler.alphas_cumprod.to(draw.noise)[draw.timestep.long()]
        noisy: Tensor = alpha.sqrt() * self.clip_latents(condition, draw) + (1 - alpha).sqrt() * draw.noise
        return noisy

    def inputs(self, condition: Tensors, text: Tensors, latents: Tensor, timestep: Tensor) -> dict[str, object]:
        """The photo's latent for the first frame; for a later one its place in the clip, in (0, 1], in every element."""
        batch, channels, frames, *size = latents.shape
        places = torch.arange(1, frames, device=latents.device).view(1, 1, -1, 1, 1) / max(frames - 1, 1)
        return {
            "sample": latents,
            "timestep": timestep,
            "fps": torch.full((batch,), self.target_fps, device=latents.device),
            "image_latents": torch.cat([condition["latents"], places.expand(batch, channels, -1, *size)], dim=2),
            "image_embeddings": condition["image_embeds"],
            "encoder_hidden_states": text["encoder_hidden_states"],
            "cross_attention_kwargs": None,
        }

    def group_by_photo(self, value: Tensor, batch: int) -> Tensor:
        return frames_of_photos(value, batch, self.num_frames)

    def decode(self, latents: Tensor) -> Tensor:
        """Scaled latents `(B, channels, frames, h, w)` → clips `(B, frames, 3, height, width)`, every frame alone."""
        with self._float32():
            frames = decode_pixels(self.vae, latents.transpose(1, 2).flatten(0, 1) / self._scale)
        return unit(frames / 2 + 0.5).reshape(len(latents), -1, *frames.shape[1:])
