"""SANA-Video: the photo is the first latent frame at every step, and the tokens of that frame get timestep 0.

The public checkpoints name the text-to-video pipeline, which shares every part with `SanaImageToVideoPipeline` and is taken
for it. Those of 480p have Wan's autoencoder, those of 720p that of LTX-2. https://arxiv.org/abs/2509.24695
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.imaging.tensors import unit
from anti_i2v.surrogates.base import Surrogate
from anti_i2v.surrogates.draw import Draw
from anti_i2v.surrogates.fast_wan_vae import quicken

if TYPE_CHECKING:
    from diffusers import AutoencoderKLLTX2Video, AutoencoderKLWan, DiffusionPipeline, SchedulerMixin

MULTIPLE = 32
"""The pipeline insists on it for height and width, whatever the autoencoder."""

TEXT_LENGTH = 300
"""Tokens of a prompt, by the pipeline's default."""

SUPPORTED: Mapping[str, tuple[str, ...]] = {
    "vae": ("AutoencoderKLWan", "AutoencoderKLLTX2Video"),
    "transformer": ("SanaVideoTransformer3DModel",),
}
"""Part of the pipeline → the classes of it that are."""


class SanaVideoSurrogate(Surrogate):
    """A frozen `SanaImageToVideoPipeline`.

    Photos are taken at the size they have, as with the call's `use_resolution_binning=False`. The call's default resizes them
    to the nearest of the sizes that SANA-Video was trained on, such as 480 × 832, and the clip back again; at those sizes
    themselves it does not matter. As by default, the prompt follows an instruction to the text encoder to enhance it.
    """

    block_lists: ClassVar[Mapping[str, str]] = {"transformer_blocks": "num_layers"}

    vae: AutoencoderKLWan | AutoencoderKLLTX2Video

    def __init__(self, pipeline: DiffusionPipeline, taps: Sequence[str], height: int, width: int, num_frames: int, steps: int) -> None:
        super().__init__(pipeline, taps, height, width, num_frames, steps)
        space, time = pipeline.vae_scale_factor_spatial, pipeline.vae_scale_factor_temporal
        patch = self._patch = tuple(pipeline.transformer.config.patch_size)
        rows, columns = math.lcm(MULTIPLE, space * patch[1]), math.lcm(MULTIPLE, space * patch[2])
        if height < rows or width < columns or height % rows or width % columns:
            raise UsageError(f"height × width is {height} × {width}; this SANA-Video needs multiples of {rows} × {columns}")
        if num_frames <= 1 or (num_frames - 1) % time:
            raise UsageError(f"num_frames is {num_frames}; this SANA-Video needs 1 + a multiple of {time}: {time + 1}, {2 * time + 1}, …")
        channels = pipeline.transformer.config.in_channels
        self._shape = (channels, (num_frames - 1) // time + 1, height // space, width // space)
        if type(pipeline.vae).__name__ == "AutoencoderKLWan":
            quicken(pipeline.vae)

    @classmethod
    def variant(cls, source: str, index: Mapping[str, object]) -> type[Surrogate]:
        """Not those with an image autoencoder, which the pipeline cannot hand a clip, nor the causal one (LongLive)."""
        for name, kinds in SUPPORTED.items():
            entry = index.get(name)
            kind = str(entry[1]) if isinstance(entry, (list, tuple)) and len(entry) > 1 else "None"
            if kind not in kinds:
                raise UsageError(f"the {name} of {source} is a {kind}; supported SANA-Video: {' or '.join(kinds)}")
        return cls

    def latent_shape(self, batch: int) -> tuple[int, ...]:
        """`(B, channels, latent frames, latent height, latent width)`."""
        return (batch, *self._shape)

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
        """See `Surrogate.text_shapes`."""
        return {
            "encoder_hidden_states": ((TEXT_LENGTH, self.pipeline.transformer.config.caption_channels), torch.float32),
            "encoder_attention_mask": ((TEXT_LENGTH,), torch.int64),
        }

    def condition(self, image: Tensor, image_noise: Tensor | None = None) -> dict[str, Tensor]:
        """`latents` `(B, channels, 1, h, w)`: the photo as one normalised latent frame (the posterior's mode)."""
        mean, std = self._statistics()
        return {"latents": (self.vae.encode((unit(image) * 2 - 1).unsqueeze(2)).latent_dist.mode() - mean) / std}

    def _statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the autoencoder's channels, of LTX-2's buffers: `(1, channels, 1, 1, 1)`."""
        if type(self.vae).__name__ == "AutoencoderKLWan":
            lists = self.vae.config.latents_mean, self.vae.config.latents_std
            values = [torch.tensor(value, device=self.device) for value in lists]
        else:
            values = [self.vae.latents_mean, self.vae.latents_std]
        mean, std = (value.view(1, -1, 1, 1, 1) for value in values)
        return mean, std

    def noisy(self, condition: Mapping[str, Tensor], draw: Draw) -> Tensor:
        """At step 0 pure noise, like the pipeline; later a noised still clip of the photo, without gradient, as with Wan."""
        if draw.step == 0:
            return draw.noise
        return (1 - draw.sigma) * condition["latents"].detach() + draw.sigma * draw.noise

    def inputs(self, condition: Mapping[str, Tensor], text: Mapping[str, Tensor], latents: Tensor, timestep: Tensor) -> dict[str, object]:
        """The photo in latent frame 0; one timestep a token `(B, 1, frames, rows, columns)`, 0 on the photo's."""
        frames, rows, columns = (size // step for size, step in zip(self._shape[1:], self._patch, strict=True))
        times = timestep.float().expand(len(latents), 1, frames, rows, columns).clone()
        times[:, :, 0] = 0
        return {
            "hidden_states": self.final(condition, latents),
            "encoder_hidden_states": text["encoder_hidden_states"],
            "encoder_attention_mask": text["encoder_attention_mask"],
            "timestep": times,
            "attention_kwargs": None,
        }

    def seeded(self, scheduler: SchedulerMixin, generators: list[torch.Generator]) -> SchedulerMixin:
        """Where steps add noise, the pipeline draws it from the generator that it was given."""
        if "generator" in inspect.signature(scheduler.step).parameters:
            scheduler.step = partial(scheduler.step, generator=generators)
        return scheduler

    def denoise(self, latents: Tensor, condition: Mapping[str, Tensor], text: Mapping[str, Tensor], scheduler: SchedulerMixin) -> Tensor:
        """The pipeline's own loop; the scheduler never steps the photo, nor a variance that the denoiser may predict as well."""
        channels = self._shape[0]
        for timestep in scheduler.timesteps:
            output = self.predict(condition, text, latents, timestep)[:, :channels, 1:]
            stepped = scheduler.step(output, timestep, latents[:, :, 1:], return_dict=False)[0]
            latents = torch.cat([latents[:, :, :1], stepped], dim=2)
        return latents

    def final(self, condition: Mapping[str, Tensor], latents: Tensor) -> Tensor:
        """The latents with the photo as frame 0."""
        return torch.cat([condition["latents"], latents[:, :, 1:]], dim=2)

    def decoded(self, condition: Mapping[str, Tensor]) -> Tensor:
        """See `Surrogate.decoded`: the single latent frame of the photo, decoded alone."""
        return self.decode(condition["latents"])[:, 0]

    def decode(self, latents: Tensor) -> Tensor:
        """Normalised latents `(B, channels, latent frames, h, w)` → clips `(B, num_frames, 3, height, width)`."""
        mean, std = self._statistics()
        with self._float32():
            video: Tensor = self.vae.decode(latents * std + mean, return_dict=False)[0]
        return unit(video / 2 + 0.5).transpose(1, 2)
