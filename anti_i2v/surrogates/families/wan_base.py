"""What the layouts of Wan share: sizes, the autoencoder and its statistics, the text, reference clips."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from anti_i2v.surrogates.draw import Draw, Tensors
from anti_i2v.surrogates.families.shared import check_length, check_size
from anti_i2v.surrogates.fast_wan_vae import accelerate_vae
from anti_i2v.surrogates.pipeline import PipelineSurrogate

TEXT_LENGTH = 512
"""Tokens of a prompt, padded; where the photo's tokens stand before them, Wan's attention splits the two at this number."""


class WanBase(PipelineSurrogate):
    """A frozen pipeline with Wan's autoencoder, whose `condition` gives `latents` with the photo as frame 0."""

    block_lists: ClassVar[Mapping[str, str]] = {"blocks": "num_layers"}
    display_name = "Wan"
    """The family's name in messages."""
    least_latent_frames = 1
    """Of a clip; 2 where the first is the photo itself."""

    latents_mean: Tensor
    latents_std: Tensor

    def _prepare(self) -> None:
        accelerate_vae(self.pipeline.vae)
        config = self.pipeline.vae.config
        for name in ("latents_mean", "latents_std"):
            self.register_buffer(name, torch.tensor(config[name]).view(1, -1, 1, 1, 1), persistent=False)

    def check_sizes(self) -> tuple[int, ...]:
        """`(channels, latent frames, latent height, latent width)`."""
        space, time = self.pipeline.vae_scale_factor_spatial, self.pipeline.vae_scale_factor_temporal
        _, rows, columns = self._patch
        check_size(self.display_name, self.height, self.width, space * rows, space * columns)
        check_length(self.display_name, self.num_frames, time, self.least_latent_frames * time - time + 1)
        return (self.vae.config.z_dim, (self.num_frames - 1) // time + 1, self.height // space, self.width // space)

    @property
    def _patch(self) -> tuple[int, int, int]:
        frames, rows, columns = self.pipeline.transformer.config.patch_size
        return frames, rows, columns

    @property
    def text_length(self) -> int:
        """Tokens of a prompt."""
        return TEXT_LENGTH

    def encode_prompts(self, prompts: list[str]) -> dict[str, Tensor]:
        """`prompt_embeds` `(prompts, text_length, channels)`."""
        embeds, _ = self.pipeline.encode_prompt(
            prompt=prompts, do_classifier_free_guidance=False, max_sequence_length=self.text_length, device=self.text_device
        )
        return {"prompt_embeds": embeds}

    def text_shapes(self) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        return {"prompt_embeds": ((self.text_length, self.pipeline.transformer.config.text_dim), torch.float32)}

    def condition(self, image: Tensor, image_noise: Tensor | None = None) -> dict[str, Tensor]:
        """`latents` `(B, channels, 1, h, w)`: the photo as one normalised latent frame."""
        return {"latents": self.normalise(self.encode_photo(image))}

    def clip_latents(self, condition: Tensors, draw: Draw) -> Tensor:
        """See `FrozenPipeline.clip_latents`; of the latents only the photo's frame."""
        return condition["latents"][:, :, :1].detach() if draw.reference is None else draw.reference

    def encode_clip(self, video: Tensor) -> Tensor:
        return self.normalise(self.encode_video(video))

    def prediction_error(self, prediction: Tensor, condition: Tensors, draw: Draw) -> Tensor:
        """See `FrozenPipeline.prediction_error`; the true value of a flow is noise less clip."""
        return prediction - (draw.noise - self.clip_latents(condition, draw))

    def normalise(self, latents: Tensor) -> Tensor:
        """The autoencoder's latents as the denoiser knows them."""
        return (latents - self.latents_mean) / self.latents_std

    def reconstruct(self, condition: Tensors) -> Tensor:
        return self.decode(condition["latents"][:, :, :1])[:, 0]

    def decode(self, latents: Tensor) -> Tensor:
        """Normalised latents `(B, channels, latent frames, h, w)` → clips `(B, num_frames, 3, height, width)`."""
        return self.decode_video(latents * self.latents_std + self.latents_mean)
