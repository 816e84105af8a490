"""Cosmos-Predict2: the photo is the first latent frame at every step, with next to no noise, and a mask says which frame it is.

The denoiser is a flow's, the schedule that of EDM (https://arxiv.org/abs/2206.00364): noise of standard deviation sigma is
added to the latents, and the denoiser is given them divided by 1 + sigma, which is a flow at time sigma / (1 + sigma).

The pipeline insists on a safety checker for prompts and clips. Here it is never loaded nor run, see
`anti_i2v.surrogates.loading.PassThrough`: nothing checks what `animate` makes. The licence of NVIDIA's weights has terms on
use without the checker, which users who make or show clips must meet.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.surrogates.draw import Draw, Tensors
from anti_i2v.surrogates.families.shared import photo_first
from anti_i2v.surrogates.families.wan_base import WanBase

if TYPE_CHECKING:
    from diffusers import SchedulerMixin

TIMESTEPS = 1000
"""The scheduler's timestep for a sigma of 1; the denoiser never sees it."""


class Cosmos2Surrogate(WanBase):
    """A frozen `Cosmos2VideoToWorldPipeline`, with the frame rate and the noise on the photo that its call has by default.

    The pipeline encodes a whole clip, the photo again and again, and uses the first latent frame. Wan's autoencoder is
    causal, so that frame is the same when the photo is encoded alone, which takes a fraction of the memory.
    """

    block_lists: ClassVar[Mapping[str, str]] = {"transformer_blocks": "num_layers"}
    float32_arguments = frozenset()
    display_name = "Cosmos-Predict2"
    least_latent_frames = 2
    frame_rate = 16
    photo_sigma = 1e-4
    """Noise level of the photo as the denoiser is given it; the photo has no noise."""

    photo_mask: Tensor
    padding: Tensor

    def _prepare(self) -> None:
        super()._prepare()
        channels = self.pipeline.transformer.config.in_channels - 1
        if channels != self.clip_shape[0]:
            raise UsageError(
                f"the denoiser reads {channels} channels and a mask, the autoencoder makes {self.clip_shape[0]}; this is no "
                "video-to-world Cosmos-Predict2; give one such as nvidia/Cosmos-Predict2-2B-Video2World"
            )
        photo_mask = torch.zeros(1, 1, *self.clip_shape[1:])
        photo_mask[:, :, 0] = 1
        self.register_buffer("photo_mask", photo_mask, persistent=False)
        self.register_buffer("padding", torch.zeros(1, 1, self.height, self.width), persistent=False)

    def _set_timesteps(self, scheduler: SchedulerMixin, steps: int) -> None:
        """The pipeline's own schedule, whose last step goes nowhere: sigma ends at its minimum rather than at 0."""
        if steps < 2:
            raise UsageError(f"steps is {steps}; the last step of Cosmos-Predict2's schedule changes nothing, so it needs at least 2")
        if not scheduler.config.use_karras_sigmas:
            raise UsageError(
                "the scheduler's use_karras_sigmas is false, with which Cosmos2VideoToWorldPipeline itself fails; set it to true in "
                "scheduler/scheduler_config.json of a copy of the pipeline, as the public checkpoints have it"
            )
        scheduler.set_timesteps(sigmas=torch.linspace(0, 1, steps, dtype=torch.float64), device=self.device)
        if scheduler.config.final_sigmas_type == "sigma_min":
            scheduler.sigmas[-1] = scheduler.sigmas[-2]

    def noise_shares(self, scheduler: SchedulerMixin) -> Tensor:
        """The times that the denoiser is given: sigma / (1 + sigma)."""
        sigmas = super().noise_shares(scheduler)
        return sigmas / (1 + sigmas)

    def text_shapes(self) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        config = self.pipeline.transformer.config
        width = config.crossattn_proj_in_channels if config.use_crossattn_projection else config.text_embed_dim
        return {"prompt_embeds": ((self.text_length, width), torch.float32)}

    def noisy_latents(self, condition: Tensors, draw: Draw) -> Tensor:
        """See `FrozenPipeline.noisy_latents`; noise of step 0, too, reaches the denoiser divided by 1 + sigma."""
        return draw.sigma * draw.noise if draw.step == 0 else super().noisy_latents(condition, draw)

    def inputs(self, condition: Tensors, text: Tensors, latents: Tensor, timestep: Tensor) -> dict[str, object]:
        """The photo in latent frame 0, a mask of where it stands, and the time of each latent frame `(B, 1, frames, 1, 1)`."""
        sigma = timestep / TIMESTEPS
        times = (sigma / (1 + sigma)).expand(len(latents), 1, latents.shape[2], 1, 1).clone()
        times[:, :, 0] = self.photo_sigma / (1 + self.photo_sigma)
        return {
            "hidden_states": photo_first(condition["latents"], latents),
            "timestep": times,
            "encoder_hidden_states": text["prompt_embeds"],
            "fps": self.frame_rate,
            "condition_mask": self.photo_mask.expand(len(latents), -1, -1, -1, -1),
            "padding_mask": self.padding,
        }

    def denoise(self, latents: Tensor, condition: Tensors, text: Tensors, scheduler: SchedulerMixin) -> Tensor:
        """The pipeline's own loop: the flow becomes a guess of the clean clip, whose first frame is known to be the photo's."""
        latents = latents * scheduler.config.sigma_max
        for timestep, sigma in zip(scheduler.timesteps, scheduler.sigmas, strict=False):
            time = sigma / (1 + sigma)
            output = self.predict(condition, text, latents * (1 - time), timestep)
            clean = (1 - time) * latents - time * output
            clean = photo_first(condition["latents"], clean)
            latents = scheduler.step((latents - clean) / sigma, timestep, latents, return_dict=False)[0]
        return latents
