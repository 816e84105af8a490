"""LTX-Video: the photo is the first latent frame at every step, and the tokens of that frame get timestep 0.

The public checkpoints name no image-to-video pipeline: 0.9 and 0.9.1 name the text-to-video one, which shares every part with
`LTXImageToVideoPipeline` and is taken for it; from 0.9.5 on they name `LTXConditionPipeline`, which has its own schedule and
noise on the photo.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.surrogates.draw import Draw, Tensors
from anti_i2v.surrogates.families.shared import check_length, check_size, photo_first
from anti_i2v.surrogates.pipeline import PipelineSurrogate

if TYPE_CHECKING:
    from diffusers import SchedulerMixin

MULTIPLE = 32
"""The pipelines insist on it for height and width, whatever the autoencoder."""

TIMESTEPS = 1000
"""Timestep of pure noise, which the pipelines have as a constant."""


class LTXSurrogate(PipelineSurrogate):
    """A frozen `LTXImageToVideoPipeline`, with the frame rate and the decoder's timestep, 0, that its call has by default."""

    frame_rate: float = 25
    text_length = 128

    block_lists: ClassVar[Mapping[str, str]] = {"transformer_blocks": "num_layers"}

    def check_sizes(self) -> tuple[int, ...]:
        """`(channels, latent frames, latent height, latent width)`, as the pipeline draws it, before it is packed into tokens."""
        time, space, _ = self._ratios
        check_size("LTX", self.height, self.width, max(MULTIPLE, space))
        check_length("LTX", self.num_frames, time)
        return (self.pipeline.transformer.config.in_channels, *self._grid)

    @property
    def _ratios(self) -> tuple[int, int, int]:
        """Frames, rows and columns of a clip to one of its latents."""
        space = self.pipeline.vae_spatial_compression_ratio
        return self.pipeline.vae_temporal_compression_ratio, space, space

    @property
    def _grid(self) -> tuple[int, int, int]:
        """Latent frames, rows and columns."""
        time, space, _ = self._ratios
        return (self.num_frames - 1) // time + 1, self.height // space, self.width // space

    def _set_timesteps(self, scheduler: SchedulerMixin, steps: int) -> None:
        """The shift grows with the number of tokens; the last step is stretched to `shift_terminal`."""
        import numpy as np
        from diffusers.pipelines.ltx.pipeline_ltx_image2video import calculate_shift

        config = scheduler.config
        if steps < 2 and config.shift_terminal:
            raise UsageError(f"steps is {steps}; this LTX's schedule runs from 1 to {config.shift_terminal}, which takes at least 2")
        frames, rows, columns = self._grid
        limits = config.base_image_seq_len, config.max_image_seq_len, config.base_shift, config.max_shift
        mu = calculate_shift(frames * rows * columns, *limits)
        scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=mu, device=self.device)

    def encode_prompts(self, prompts: list[str]) -> dict[str, Tensor]:
        """`encoder_hidden_states` `(prompts, tokens, channels)` and `encoder_attention_mask` `(prompts, tokens)`, False on padding."""
        embeds, mask, _, _ = self.pipeline.encode_prompt(
            prompts, do_classifier_free_guidance=False, max_sequence_length=self.text_length, device=self.text_device
        )
        return {"encoder_hidden_states": embeds, "encoder_attention_mask": mask}

    def text_shapes(self) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        width = self.pipeline.transformer.config.caption_channels
        return {
            "encoder_hidden_states": ((self.text_length, width), torch.float32),
            "encoder_attention_mask": ((self.text_length,), torch.bool),
        }

    def condition(self, image: Tensor, image_noise: Tensor | None = None) -> dict[str, Tensor]:
        """`latents` `(B, channels, 1, h, w)`: the photo as one normalised latent frame."""
        mean, std = self._statistics()
        return {"latents": (self.encode_photo(image) - mean) / std}  # without the scaling factor, although the decoder's side has it

    def _statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the autoencoder's channels, buffers of its own: `(1, channels, 1, 1, 1)`."""
        mean, std = (value.view(1, -1, 1, 1, 1) for value in (self.vae.latents_mean, self.vae.latents_std))
        return mean, std

    def inputs(self, condition: Tensors, text: Tensors, latents: Tensor, timestep: Tensor) -> dict[str, object]:
        """The photo in latent frame 0, packed `(B, tokens, channels)`; one timestep a token, 0 on the photo's."""
        times = timestep.expand(len(latents), 1, *self._grid).clone()
        times[:, :, 0] = 0
        return {
            "hidden_states": self._packed(self.with_photo(condition, latents, timestep)),
            "encoder_hidden_states": text["encoder_hidden_states"],
            "timestep": self._packed(times).squeeze(-1),
            "encoder_attention_mask": text["encoder_attention_mask"],
            **self._positions(len(latents)),
            "attention_kwargs": None,
        }

    def _positions(self, batch: int) -> dict[str, object]:
        """Where each token lies: the grid and, along each of its axes, the pixels or seconds to a token."""
        frames, rows, columns = self._grid
        time, *space = self._ratios
        return {"num_frames": frames, "height": rows, "width": columns, "rope_interpolation_scale": (time / self.frame_rate, *space)}

    def with_photo(self, condition: Tensors, latents: Tensor, timestep: Tensor) -> Tensor:
        """The latents with the photo as frame 0, as the denoiser is given them at a timestep."""
        return photo_first(condition["latents"], latents)

    def _packed(self, latents: Tensor) -> Tensor:
        """`(B, channels, frames, h, w)` → `(B, tokens, channels)`; every LTX has patches of one latent pixel."""
        return latents.flatten(2).transpose(1, 2)

    def denoise(self, latents: Tensor, condition: Tensors, text: Tensors, scheduler: SchedulerMixin) -> Tensor:
        """The pipeline's own loop; the scheduler steps what is no longer packed, and never the photo."""
        for timestep in scheduler.timesteps:
            scaled = scheduler.scale_model_input(latents, timestep) if hasattr(scheduler, "scale_model_input") else latents
            output = self.predict(condition, text, scaled, timestep)
            velocity = output.transpose(1, 2).reshape(latents.shape)[:, :, 1:]
            stepped = scheduler.step(velocity, timestep, latents[:, :, 1:], return_dict=False)[0]
            latents = torch.cat([self.with_photo(condition, scaled, timestep)[:, :, :1], stepped], dim=2)
        return latents

    def reconstruct(self, condition: Tensors) -> Tensor:
        """See `FrozenPipeline.reconstruct`; without the scaling factor, as in `condition`."""
        mean, std = self._statistics()
        return self.decode_video(condition["latents"] * std + mean)[:, 0]

    def decode(self, latents: Tensor) -> Tensor:
        """Normalised latents `(B, channels, latent frames, h, w)` → clips `(B, num_frames, 3, height, width)`."""
        mean, std = self._statistics()
        return self.decode_video(latents * std / self.vae.config.scaling_factor + mean)


class LTXConditionSurrogate(LTXSurrogate):
    """A frozen `LTXConditionPipeline` given the photo as its first frame, as the call does by default.

    It has no shift; its photo has fresh noise on its latents at every step, and tokens are placed by their first pixel.
    """

    text_length = 256
    image_cond_noise_scale = 0.15
    """Standard deviation of the noise on the photo's latents where the clip is pure noise; it falls with the square of the level."""

    positions: Tensor

    def _prepare(self) -> None:
        super()._prepare()
        time, space, _ = self._ratios
        positions = self.pipeline._scale_video_ids(self.pipeline._prepare_video_ids(1, *self._grid), space, time).float()
        positions[:, 0] = positions[:, 0] * (1.0 / self.frame_rate)
        self.register_buffer("positions", positions, persistent=False)

    def _set_timesteps(self, scheduler: SchedulerMixin, steps: int) -> None:
        """Half of the steps, the noisiest, are small and alike; the others grow."""
        from diffusers.pipelines.ltx.pipeline_ltx_condition import linear_quadratic_schedule

        if scheduler.config.use_dynamic_shifting:
            raise UsageError(
                "the scheduler's use_dynamic_shifting is true, with which LTXConditionPipeline itself fails; set it to false in "
                "scheduler/scheduler_config.json of a copy of the pipeline, as LTX 0.9.5 and later have it"
            )
        timesteps = linear_quadratic_schedule(steps) * TIMESTEPS
        scheduler.set_timesteps(sigmas=timesteps / TIMESTEPS, timesteps=timesteps, device=self.device)

    def noisy_latents(self, condition: Tensors, draw: Draw) -> Tensor:
        """As with other LTX; frame 0, where the photo will be, keeps the unit noise, for the photo."""
        return photo_first(draw.noise[:, :, :1], super().noisy_latents(condition, draw))

    def with_photo(self, condition: Tensors, latents: Tensor, timestep: Tensor) -> Tensor:
        """The latents with the photo as frame 0, with as much of the noise there as belongs to the timestep."""
        share = self.image_cond_noise_scale * (timestep / TIMESTEPS) ** 2
        return photo_first(condition["latents"] + share * latents[:, :, :1], latents)

    def seed_scheduler(self, scheduler: SchedulerMixin, generators: list[torch.Generator]) -> SchedulerMixin:
        """Before a step fresh noise for the photo; the pipeline draws it for all tokens, packed, and throws the rest away."""
        _, channels, *grid = shape = self.latent_shape(1)

        def refresh_photo_noise(latents: Tensor, timestep: Tensor) -> Tensor:
            tokens = [torch.randn(1, math.prod(grid), channels, generator=generator) for generator in generators]
            noise = torch.cat([one.transpose(1, 2).reshape(shape) for one in tokens]).to(latents)
            return photo_first(noise[:, :, :1], latents)

        scheduler.scale_model_input = refresh_photo_noise
        return super().seed_scheduler(scheduler, generators)

    def _positions(self, batch: int) -> dict[str, object]:
        """Seconds, row and column in pixels of every token, `(B, 3, tokens)`."""
        return {"video_coords": self.positions.expand(batch, -1, -1)}
