"""SkyReels-V2 diffusion forcing: every latent frame has a noise level of its own, and the photo's, the first, has none.

The clip is made in the pipeline's synchronous way, its default, in which all other frames have the same level at each step.
The public checkpoints name the text-to-video pipeline, which shares every part with the one for photos and is taken for it.
https://arxiv.org/abs/2504.13074
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.surrogates.draw import Tensors
from anti_i2v.surrogates.families.wan import WanSurrogate
from anti_i2v.surrogates.families.wan_base import TEXT_LENGTH
from anti_i2v.surrogates.pipeline import PipelineSurrogate

if TYPE_CHECKING:
    from diffusers import SchedulerMixin

SLOW = 16
"""The frame rate that the denoiser distinguishes from all others."""


class SkyReelsV2DFSurrogate(WanSurrogate):
    """A frozen `SkyReelsV2DiffusionForcingImageToVideoPipeline`, with the frame rate that its call has by default.

    A clip of more than 97 frames is that of a call with `base_num_frames` as large: one window, not several that overlap.
    """

    display_name = "SkyReels-V2"
    least_latent_frames = 2
    frame_rate = 24

    def _prepare(self) -> None:
        super()._prepare()
        config, channels = self.pipeline.transformer.config, self.clip_shape[0]
        if config.in_channels != channels:
            raise UsageError(
                f"the denoiser reads {config.in_channels} channels, not {channels} (those of a clip alone); this is no diffusion "
                "forcing SkyReels-V2; give one such as Skywork/SkyReels-V2-DF-1.3B-540P-Diffusers"
            )
        if config.num_frame_per_block != 1:
            raise UsageError(
                f"num_frame_per_block is {config.num_frame_per_block}: with more than one the pipeline noises the photo's frame like the "
                "rest of its block and denoises it away; supported: 1, as the public checkpoints have it"
            )

    @classmethod
    def variant(cls, source: str, index: Mapping[str, object]) -> type[PipelineSurrogate]:
        """The only one."""
        return cls

    @property
    def text_length(self) -> int:
        """Wan's 512 tokens, whatever the tokenizer ends at: the padding counts in the cross-attention."""
        return TEXT_LENGTH

    def inputs(self, condition: Tensors, text: Tensors, latents: Tensor, timestep: Tensor) -> dict[str, object]:
        """The photo in latent frame 0; one timestep a latent frame, 0 on the photo's."""
        return {
            "hidden_states": self.finish(condition, latents),
            "timestep": (self.noise_mask[0, 0, :, 0, 0] * timestep).long().expand(len(latents), -1),
            "encoder_hidden_states": text["prompt_embeds"],
            "enable_diffusion_forcing": True,
            # One entry, whatever the batch: the denoiser adds it to every photo's, and fails where there are several.
            "fps": [0 if self.frame_rate == SLOW else 1],
            "attention_kwargs": None,
        }

    def denoise(self, latents: Tensor, condition: Tensors, text: Tensors, scheduler: SchedulerMixin) -> Tensor:
        """The pipeline's own loop, which steps each latent frame for itself and never the photo.

        It writes every result over the latents that it hands the scheduler. A scheduler that remembers those of its first
        step, as UniPC does, finds the result in their place, and corrects from there; so it is done here, too.
        """
        moving = latents[:, :, 1:]
        for timestep in scheduler.timesteps:
            output = self.predict(condition, text, latents, timestep)[:, :, 1:]
            moving.copy_(scheduler.step(output, timestep, moving, return_dict=False)[0])
        return latents
