"""FramePack image-to-video: a clip is made section by section, the last one first, and the photo stands before them all.

What the denoiser is given beside the noise of a section is the photo's latent, SigLIP's tokens of it, and a history of the
sections that follow in the clip, the coarser the farther away.

https://arxiv.org/abs/2504.12626
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from anti_i2v.imaging.tensors import unit
from anti_i2v.surrogates.draw import Tensors
from anti_i2v.surrogates.families.shared import check_length, check_size, even_sigmas
from anti_i2v.surrogates.pipeline import PipelineSurrogate

if TYPE_CHECKING:
    from diffusers import SchedulerMixin

MULTIPLE = 16
"""The pipeline insists on it for height and width."""
WINDOW = 9
"""Latent frames of a section, by the default of the pipeline's call."""
HISTORY = (1, 2, 16)
"""Latent frames of the history that are given whole, halved and quartered, the nearest first."""
LARGEST_SHIFT = 7.0
"""Of the schedule, however many tokens a section has."""
TEXT_LENGTH = 256
"""Tokens of a prompt, by the pipeline's default."""


class FramePackSurrogate(PipelineSurrogate):
    """A frozen `HunyuanVideoFramepackPipeline` with the sampling that its call has by default, `inverted_anti_drifting`.

    Features are those of the section that is made first, the end of the clip: only there is the history known, empty. The
    published denoiser comes without a pipeline: put it together with the parts that diffusers' documentation names, and
    write that with `save_pretrained`. FramePack F1 has the same parts but another sampling, which no file tells apart.
    """

    block_lists: ClassVar[Mapping[str, str]] = {"transformer_blocks": "num_layers", "single_transformer_blocks": "num_single_layers"}
    text_parts = ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")
    guidance_scale = 6.0
    """Given to the guidance-distilled denoiser, by the default of the pipeline's call."""

    def _prepare(self) -> None:
        self.image_encoder: nn.Module = self.pipeline.image_encoder

    def check_sizes(self) -> tuple[int, ...]:
        """`(channels, latent frames, latent height, latent width)` of one section."""
        space, section = self.pipeline.vae_scale_factor_spatial, WINDOW * self._time
        check_size("FramePack", self.height, self.width, MULTIPLE)
        check_length("FramePack", self.num_frames, section, section + 1)
        return (self.pipeline.transformer.config.in_channels, WINDOW, self.height // space, self.width // space)

    @property
    def _time(self) -> int:
        """Frames to a latent frame."""
        return int(self.pipeline.vae_scale_factor_temporal)

    @property
    def _sections(self) -> int:
        return (self.num_frames - 1) // (WINDOW * self._time)

    def _set_timesteps(self, scheduler: SchedulerMixin, steps: int) -> None:
        """Equal steps of the flow's own time; where the scheduler asks for it, a shift that grows with the number of tokens."""
        from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video_framepack import calculate_shift

        config, patch = scheduler.config, self.pipeline.transformer.config.patch_size
        names = {"base_image_seq_len": 256, "max_image_seq_len": 4096, "base_shift": 0.5, "max_shift": 1.15}
        limits = [config.get(name, default) for name, default in names.items()]
        shift = min(calculate_shift(math.prod(self.clip_shape[1:]) / patch**2, *limits), math.log(LARGEST_SHIFT))
        scheduler.set_timesteps(sigmas=even_sigmas(steps), mu=shift, device=self.device)

    def encode_prompts(self, prompts: list[str]) -> dict[str, Tensor]:
        """States of LLaMA `(prompts, tokens, channels)` with their mask, 1 on text, and CLIP's `(prompts, channels)`."""
        states, pooled, mask = self.pipeline.encode_prompt(prompts, max_sequence_length=TEXT_LENGTH, device=self.text_device)
        return {"encoder_hidden_states": states, "encoder_attention_mask": mask.float(), "pooled_projections": pooled}

    def text_shapes(self) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        config = self.pipeline.transformer.config
        return {
            "encoder_hidden_states": ((TEXT_LENGTH, config.text_embed_dim), torch.float32),
            "encoder_attention_mask": ((TEXT_LENGTH,), torch.float32),
            "pooled_projections": ((config.pooled_projection_dim,), torch.float32),
        }

    def condition(self, image: Tensor, image_noise: Tensor | None = None) -> dict[str, Tensor]:
        """`latents` `(B, channels, 1, h, w)`: the photo as one scaled latent frame.

        `image_embeds` `(B, tokens, channels)`: SigLIP's last states of it. The pipeline, too, resizes it without rounding.
        """
        photo = unit(image)
        latents = self.encode_photo(image) * self.vae.config.scaling_factor
        pixels = self.pipeline.feature_extractor(images=photo, do_rescale=False, return_tensors="pt").pixel_values
        return {"latents": latents, "image_embeds": self.image_encoder(pixels).last_hidden_state}

    def _positions(self, section: int) -> Tensor:
        """Where the latent frames of the photo, the section and the history stand in time, the sections in the order of sampling.

        Of a long clip the pipeline has all sections but the first and the last two stand at the same distance from the photo.
        """
        count = self._sections
        distances = list(reversed(range(count))) if count <= 4 else [3, *[2] * (count - 3), 1, 0]
        begin = 1 + distances[section] * WINDOW
        return torch.cat([torch.zeros(1, dtype=torch.long), torch.arange(begin, begin + WINDOW + sum(HISTORY))])

    def inputs(self, condition: Tensors, text: Tensors, latents: Tensor, timestep: Tensor) -> dict[str, object]:
        """The noise of a section, the photo and the section's history, which `denoise` adds to the condition; without, the first's."""
        history = condition.get("history", latents.new_zeros(*latents.shape[:2], sum(HISTORY), *latents.shape[3:]))
        near, half = HISTORY[0], sum(HISTORY[:2])
        positions = condition.get("positions", self._positions(0))
        history_positions = positions[1 + WINDOW :]
        return {
            "hidden_states": latents,
            "timestep": timestep.expand(len(latents)),
            **text,
            "image_embeds": condition["image_embeds"],
            "indices_latents": positions[1 : 1 + WINDOW],
            "guidance": latents.new_full((len(latents),), self.guidance_scale * 1000),
            "latents_clean": torch.cat([condition["latents"], history[:, :, :near]], dim=2),
            "indices_latents_clean": torch.cat([positions[:1], history_positions[:near]]),
            "latents_history_2x": history[:, :, near:half],
            "indices_latents_history_2x": history_positions[near:half],
            "latents_history_4x": history[:, :, half:],
            "indices_latents_history_4x": history_positions[half:],
            "attention_kwargs": None,
        }

    def seed_scheduler(self, scheduler: SchedulerMixin, generators: list[torch.Generator]) -> SchedulerMixin:
        """Every section starts from noise of its own, which photos' generators go on to draw."""
        scheduler.fresh_noise = lambda: torch.cat([torch.randn(self.latent_shape(1), generator=each) for each in generators])
        return scheduler

    def denoise(self, latents: Tensor, condition: Tensors, text: Tensors, scheduler: SchedulerMixin) -> Tensor:
        """The common loop for each section, from the end of the clip to its beginning.

        Returns:
            `(B, channels, 1 + sections × WINDOW, h, w)`: the photo and all sections, in the order of the clip.
        """
        clip, steps = latents.new_zeros(*latents.shape[:2], 0, *latents.shape[3:]), len(scheduler.timesteps)
        empty = latents.new_zeros(*latents.shape[:2], sum(HISTORY), *latents.shape[3:])
        for section in range(self._sections):
            if section:
                latents = scheduler.fresh_noise().to(latents)
                self._set_timesteps(scheduler, steps)
            history = torch.cat([clip, empty], dim=2)[:, :, : sum(HISTORY)]
            section_condition = {**condition, "history": history, "positions": self._positions(section)}
            clip = torch.cat([super().denoise(latents, section_condition, text, scheduler), clip], dim=2)
        return torch.cat([condition["latents"], clip], dim=2)

    # ------------------------------------------------------------------------------------------------------ pictures
    def reconstruct(self, condition: Tensors) -> Tensor:
        return unit(self._video(condition["latents"]) / 2 + 0.5)[:, :, 0]

    def decode(self, latents: Tensor) -> Tensor:
        """What `denoise` returns → clips `(B, num_frames, 3, height, width)`.

        Like the pipeline from the end to the beginning: each section is decoded with the one behind it, and the frames
        that it shares with what is decoded already are blended.
        """
        overlap = (WINDOW - 1) * self._time + 1
        video: Tensor | None = None
        for section in range(self._sections):
            last = section == self._sections - 1
            begin = 0 if last else 1 + (self._sections - 1 - section) * WINDOW
            part = self._video(latents[:, :, begin : begin + 2 * WINDOW + last])
            video = part if video is None else self.pipeline._soft_append(part, video, overlap)
        assert video is not None  # there is at least one section
        return unit(video / 2 + 0.5).transpose(1, 2)

    def _video(self, latents: Tensor) -> Tensor:
        with self._float32():
            video: Tensor = self.vae.decode(latents / self.vae.config.scaling_factor, return_dict=False)[0]
        return video
