"""Wan image-to-video pipelines: the layout of Wan 2.2 TI2V-5B, which `portrait-dit` shares.

Its autoencoder encodes the photo as a single frame, which replaces the first latent frame at every step, and that
frame's tokens get timestep 0. Wan 2.1 and 2.2 A14B feed the photo by another route, see `anti_i2v.surrogates.families.wan_concat`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.surrogates.base import Surrogate
from anti_i2v.surrogates.draw import Draw
from anti_i2v.surrogates.families.wan_base import TEXT_LENGTH, WanBase

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline


class WanSurrogate(WanBase):
    """A frozen `WanImageToVideoPipeline` with `expand_timesteps`."""

    keep: Tensor

    def __init__(self, pipeline: DiffusionPipeline, taps: Sequence[str], height: int, width: int, num_frames: int, steps: int) -> None:
        super().__init__(pipeline, taps, height, width, num_frames, steps)
        keep = torch.ones(1, 1, *self.clip_shape[1:])
        keep[:, :, 0] = 0  # 1 where the noise stays, 0 where the photo replaces it
        self.register_buffer("keep", keep, persistent=False)

    @classmethod
    def variant(cls, source: str, index: Mapping[str, object]) -> type[Surrogate]:
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

    def condition(self, image: Tensor, image_noise: Tensor | None = None) -> dict[str, Tensor]:
        """`latents` `(B, channels, 1, h, w)`: the photo as one normalised latent frame."""
        return {"latents": self.normalised(self.encode_photo(image))}

    def prediction_error(self, prediction: Tensor, condition: Mapping[str, Tensor], draw: Draw) -> Tensor:
        """See `FrozenPipeline.prediction_error`; frame 0 does not count, the photo stands there."""
        return self.keep * super().prediction_error(prediction, condition, draw)

    def inputs(self, condition: Mapping[str, Tensor], text: Mapping[str, Tensor], latents: Tensor, timestep: Tensor) -> dict[str, object]:
        """The photo in latent frame 0, one timestep a token, 0 on the photo's tokens."""
        _, rows, columns = self._patch
        per_token = (self.keep[0, 0, :, ::rows, ::columns] * timestep).flatten().expand(len(latents), -1)
        return {
            "hidden_states": self.finish(condition, latents),
            "timestep": per_token,
            "encoder_hidden_states": text["prompt_embeds"],
            "encoder_hidden_states_image": None,
            "attention_kwargs": None,
        }

    def finish(self, condition: Mapping[str, Tensor], latents: Tensor) -> Tensor:
        """The latents with the photo as frame 0."""
        return (1 - self.keep) * condition["latents"] + self.keep * latents
