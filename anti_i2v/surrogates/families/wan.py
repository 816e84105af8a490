"""Wan image-to-video pipelines: the layout of Wan 2.2 TI2V-5B, which `portrait-dit` shares.

Its autoencoder encodes the photo as a single frame, which replaces the first latent frame at every step, and that
frame's tokens get timestep 0. Wan 2.1 and 2.2 A14B feed the photo by another route, see `anti_i2v.surrogates.families.wan_concat`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.surrogates.draw import Draw, Tensors
from anti_i2v.surrogates.families.wan_base import TEXT_LENGTH, WanBase
from anti_i2v.surrogates.pipeline import PipelineSurrogate


class WanSurrogate(WanBase):
    """A frozen `WanImageToVideoPipeline` with `expand_timesteps`."""

    noise_mask: Tensor

    def _prepare(self) -> None:
        super()._prepare()
        noise_mask = torch.ones(1, 1, *self.clip_shape[1:])
        noise_mask[:, :, 0] = 0  # 1 where the noise stays, 0 where the photo replaces it
        self.register_buffer("noise_mask", noise_mask, persistent=False)

    @classmethod
    def variant(cls, source: str, index: Mapping[str, object]) -> type[PipelineSurrogate]:
        """Without `expand_timesteps` the photo's latents stand beside the noisy ones: Wan 2.1, 2.2 A14B."""
        if index.get("expand_timesteps"):
            if index.get("boundary_ratio") is not None:
                raise UsageError(f"{source} has expand_timesteps and a boundary_ratio, which no Wan has together; set one of them to null")
            return cls
        from anti_i2v.surrogates.families.wan_concat import WanConcatSurrogate

        return WanConcatSurrogate.variant(source, index)

    @property
    def text_length(self) -> int:
        """Wan's 512 tokens, or fewer where the tokenizer ends: this layout sets no photo tokens before them."""
        return min(TEXT_LENGTH, int(self.pipeline.tokenizer.model_max_length))

    def prediction_error(self, prediction: Tensor, condition: Tensors, draw: Draw) -> Tensor:
        """See `FrozenPipeline.prediction_error`; frame 0 does not count, the photo stands there."""
        return self.noise_mask * super().prediction_error(prediction, condition, draw)

    def inputs(self, condition: Tensors, text: Tensors, latents: Tensor, timestep: Tensor) -> dict[str, object]:
        """The photo in latent frame 0, one timestep a token, 0 on the photo's tokens."""
        _, rows, columns = self._patch
        per_token = (self.noise_mask[0, 0, :, ::rows, ::columns] * timestep).flatten().expand(len(latents), -1)
        return {
            "hidden_states": self.finish(condition, latents),
            "timestep": per_token,
            "encoder_hidden_states": text["prompt_embeds"],
            "encoder_hidden_states_image": None,
            "attention_kwargs": None,
        }

    def finish(self, condition: Tensors, latents: Tensor) -> Tensor:
        """The latents with the photo as frame 0."""
        return (1 - self.noise_mask) * condition["latents"] + self.noise_mask * latents
