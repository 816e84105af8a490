"""HunyuanVideo 1.5 image-to-video: the photo's latent stands beside the noisy ones, and SigLIP's tokens of it before the prompt's.

The pipeline takes no size. It looks for the one nearest to the photo's shape in a list of its own, and makes clips of that.

https://arxiv.org/abs/2511.18870
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from anti_i2v.errors import UsageError
from anti_i2v.surrogates.draw import Tensors
from anti_i2v.surrogates.families.shared import check_length, even_sigmas, photo_and_mask
from anti_i2v.surrogates.families.wan_concat import resize_for_clip
from anti_i2v.surrogates.pipeline import PipelineSurrogate

if TYPE_CHECKING:
    from diffusers import SchedulerMixin


class HunyuanVideo15Surrogate(PipelineSurrogate):
    """A frozen `HunyuanVideo15ImageToVideoPipeline`, also one distilled to few steps (`use_meanflow`).

    Height and width must be a size that the pipeline does not change. SigLIP resizes the photo in 8 bits in the pipeline and without
    rounding here, because that has no gradient.
    """

    block_lists: ClassVar[Mapping[str, str]] = {"transformer_blocks": "num_layers"}
    text_parts = ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")
    float32_arguments = frozenset()  # the pipeline hands over even the timestep in the denoiser's type

    def _prepare(self) -> None:
        self.vae.enable_slicing()  # clip by clip: the mask of its attention has the wrong shape for several
        self.image_encoder: nn.Module = self.pipeline.image_encoder

    def check_sizes(self) -> tuple[int, ...]:
        """`(channels, latent frames, latent height, latent width)`."""
        height, width = self.height, self.width
        if height < 1 or width < 1 or self._clip_size(height, width) != (height, width):
            size = (max(1, height), max(1, width))
            while size != self._clip_size(*size):  # ends at a square at the latest
                size = self._clip_size(*size)
            raise UsageError(
                f"height × width is {height} × {width}; HunyuanVideo 1.5 makes clips of a size of its own from such a photo, "
                f"give one that it does not change, such as {size[0]} × {size[1]}"
            )
        space, time = self.pipeline.vae_scale_factor_spatial, self.pipeline.vae_scale_factor_temporal
        check_length("HunyuanVideo 1.5", self.num_frames, time)
        return (self.pipeline.num_channels_latents, (self.num_frames - 1) // time + 1, height // space, width // space)

    def _clip_size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the clip that the pipeline makes of a photo of this height and width."""
        rows, columns = self.pipeline.video_processor.calculate_default_height_width(height, width, self.pipeline.target_size)
        return rows, columns

    def _set_timesteps(self, scheduler: SchedulerMixin, steps: int) -> None:
        """Equal steps of the flow's own time, as with HunyuanVideo."""
        scheduler.set_timesteps(sigmas=even_sigmas(steps), device=self.device)

    def encode_prompts(self, prompts: list[str]) -> dict[str, Tensor]:
        """States of Qwen `(prompts, tokens, channels)` and, of what stands in quotation marks, of ByT5 (`_2`); masks, 1 on text."""
        embeds, mask, embeds_2, mask_2 = self.pipeline.encode_prompt(prompts, batch_size=len(prompts), device=self.text_device)
        return {
            "encoder_hidden_states": embeds,
            "encoder_attention_mask": mask,
            "encoder_hidden_states_2": embeds_2,
            "encoder_attention_mask_2": mask_2,
        }

    def text_shapes(self) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        config, words, letters = self.pipeline.transformer.config, self.pipeline.tokenizer_max_length, self.pipeline.tokenizer_2_max_length
        return {
            "encoder_hidden_states": ((words, config.text_embed_dim), torch.float32),
            "encoder_attention_mask": ((words,), torch.float32),
            "encoder_hidden_states_2": ((letters, config.text_embed_2_dim), torch.float32),
            "encoder_attention_mask_2": ((letters,), torch.float32),
        }

    def condition(self, image: Tensor, image_noise: Tensor | None = None) -> dict[str, Tensor]:
        """`latents` `(B, channels, 1, h, w)`, the photo as one scaled latent frame.

        `image_embeds` `(B, tokens, channels)`: SigLIP's last states of it.
        """
        latents = self.encode_photo(image) * self.vae.config.scaling_factor
        embeds = self.image_encoder(resize_for_clip(image, self.pipeline.feature_extractor)).last_hidden_state
        return {"latents": latents, "image_embeds": embeds}

    def denoise(self, latents: Tensor, condition: Tensors, text: Tensors, scheduler: SchedulerMixin) -> Tensor:
        """The common loop, with the schedule at hand, which is not `timesteps` if the number of steps is another."""
        return super().denoise(latents, {**condition, "timesteps": scheduler.timesteps}, text, scheduler)

    def inputs(self, condition: Tensors, text: Tensors, latents: Tensor, timestep: Tensor) -> dict[str, object]:
        """Noise, photo (zeros behind its frame) and a mask of where it stands, side by side; for mean flow the next timestep too."""
        later = None
        if self.pipeline.transformer.config.use_meanflow:
            all_steps = condition.get("timesteps", self.timesteps).to(latents.device)
            later = torch.where(all_steps < timestep, all_steps, 0).amax().expand(len(latents))  # 0 after the last
        return {
            "hidden_states": torch.cat([latents, photo_and_mask(condition["latents"], latents)], dim=1),
            "image_embeds": condition["image_embeds"],
            "timestep": timestep.expand(len(latents)).to(latents.dtype),
            "timestep_r": later,
            **text,
            "attention_kwargs": None,
        }

    def decode(self, latents: Tensor) -> Tensor:
        """Scaled latents `(B, channels, latent frames, h, w)` → clips `(B, num_frames, 3, height, width)`."""
        return self.decode_video(latents / self.vae.config.scaling_factor)
