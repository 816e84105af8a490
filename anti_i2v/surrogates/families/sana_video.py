"""SANA-Video: the photo is the first latent frame at every step, and the tokens of that frame get timestep 0.

The public checkpoints name the text-to-video pipeline, which shares every part with `SanaImageToVideoPipeline` and is taken
for it. Those of 480p have Wan's autoencoder, those of 720p that of LTX-2. https://arxiv.org/abs/2509.24695
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.surrogates.draw import Tensors
from anti_i2v.surrogates.families.shared import check_length, check_size, photo_first
from anti_i2v.surrogates.fast_wan_vae import accelerate_vae
from anti_i2v.surrogates.pipeline import PipelineSurrogate

if TYPE_CHECKING:
    from diffusers import SchedulerMixin

MULTIPLE = 32
"""The pipeline insists on it for height and width, whatever the autoencoder."""

TEXT_LENGTH = 300
"""Tokens of a prompt, by the pipeline's default."""

SUPPORTED: Mapping[str, tuple[str, ...]] = {
    "vae": ("AutoencoderKLWan", "AutoencoderKLLTX2Video"),
    "transformer": ("SanaVideoTransformer3DModel",),
}
"""Part of the pipeline → its classes that are supported."""


class SanaVideoSurrogate(PipelineSurrogate):
    """A frozen `SanaImageToVideoPipeline`.

    Photos are taken at the size they have, as with the call's `use_resolution_binning=False`. The call's default resizes them
    to the nearest of the sizes that SANA-Video was trained on, such as 480 × 832, and the clip back again; at those sizes
    themselves it does not matter. As by default, the prompt follows an instruction to the text encoder to enhance it.
    """

    block_lists: ClassVar[Mapping[str, str]] = {"transformer_blocks": "num_layers"}

    def _prepare(self) -> None:
        if type(self.pipeline.vae).__name__ == "AutoencoderKLWan":
            accelerate_vae(self.pipeline.vae)

    def check_sizes(self) -> tuple[int, ...]:
        """`(channels, latent frames, latent height, latent width)`."""
        space, time = self.pipeline.vae_scale_factor_spatial, self.pipeline.vae_scale_factor_temporal
        config = self.pipeline.transformer.config
        rows, columns = (math.lcm(MULTIPLE, space * patch) for patch in config.patch_size[1:])
        check_size("SANA-Video", self.height, self.width, rows, columns)
        check_length("SANA-Video", self.num_frames, time, time + 1)
        return (config.in_channels, (self.num_frames - 1) // time + 1, self.height // space, self.width // space)

    @classmethod
    def variant(cls, source: str, index: Mapping[str, object]) -> type[PipelineSurrogate]:
        """Not those with an image autoencoder, which the pipeline cannot hand a clip, nor the causal one (LongLive)."""
        for name, classes in SUPPORTED.items():
            entry = index.get(name)
            actual = str(entry[1]) if isinstance(entry, (list, tuple)) and len(entry) > 1 else "None"
            if actual not in classes:
                raise UsageError(f"the {name} of {source} is a {actual}; supported SANA-Video: {' or '.join(classes)}")
        return cls

    def encode_prompts(self, prompts: list[str]) -> dict[str, Tensor]:
        """`encoder_hidden_states` `(prompts, tokens, channels)` and `encoder_attention_mask` `(prompts, tokens)`, 0 on padding."""
        from diffusers import SanaImageToVideoPipeline

        instruction = inspect.signature(SanaImageToVideoPipeline.__call__).parameters["complex_human_instruction"].default
        embeds, mask, _, _ = self.pipeline.encode_prompt(
            prompts,
            do_classifier_free_guidance=False,
            max_sequence_length=TEXT_LENGTH,
            complex_human_instruction=instruction,
            device=self.text_device,
        )
        return {"encoder_hidden_states": embeds, "encoder_attention_mask": mask}

    def text_shapes(self) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        return {
            "encoder_hidden_states": ((TEXT_LENGTH, self.pipeline.transformer.config.caption_channels), torch.float32),
            "encoder_attention_mask": ((TEXT_LENGTH,), torch.int64),
        }

    def condition(self, image: Tensor, image_noise: Tensor | None = None) -> dict[str, Tensor]:
        """`latents` `(B, channels, 1, h, w)`: the photo as one normalised latent frame."""
        mean, std = self._statistics()
        return {"latents": (self.encode_photo(image) - mean) / std}

    def _statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the autoencoder's channels, of LTX-2's buffers: `(1, channels, 1, 1, 1)`."""
        if type(self.vae).__name__ == "AutoencoderKLWan":
            lists = self.vae.config.latents_mean, self.vae.config.latents_std
            values = [torch.tensor(value, device=self.device) for value in lists]
        else:
            values = [self.vae.latents_mean, self.vae.latents_std]
        mean, std = (value.view(1, -1, 1, 1, 1) for value in values)
        return mean, std

    def inputs(self, condition: Tensors, text: Tensors, latents: Tensor, timestep: Tensor) -> dict[str, object]:
        """The photo in latent frame 0; one timestep a token `(B, 1, frames, rows, columns)`, 0 on the photo's."""
        patch = self.pipeline.transformer.config.patch_size
        frames, rows, columns = (size // step for size, step in zip(self.clip_shape[1:], patch, strict=True))
        times = timestep.float().expand(len(latents), 1, frames, rows, columns).clone()
        times[:, :, 0] = 0
        return {
            "hidden_states": self.finish(condition, latents),
            "encoder_hidden_states": text["encoder_hidden_states"],
            "encoder_attention_mask": text["encoder_attention_mask"],
            "timestep": times,
            "attention_kwargs": None,
        }

    def denoise(self, latents: Tensor, condition: Tensors, text: Tensors, scheduler: SchedulerMixin) -> Tensor:
        """The pipeline's own loop; the scheduler never steps the photo, nor a variance that the denoiser may predict as well."""
        channels = self.clip_shape[0]
        for timestep in scheduler.timesteps:
            output = self.predict(condition, text, latents, timestep)[:, :channels, 1:]
            stepped = scheduler.step(output, timestep, latents[:, :, 1:], return_dict=False)[0]
            latents = torch.cat([latents[:, :, :1], stepped], dim=2)
        return latents

    def finish(self, condition: Tensors, latents: Tensor) -> Tensor:
        """The latents with the photo as frame 0."""
        return photo_first(condition["latents"], latents)

    def decode(self, latents: Tensor) -> Tensor:
        """Normalised latents `(B, channels, latent frames, h, w)` → clips `(B, num_frames, 3, height, width)`."""
        mean, std = self._statistics()
        return self.decode_video(latents * std + mean)
