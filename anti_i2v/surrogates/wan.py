"""Wan image-to-video pipelines: the layout of Wan 2.2 TI2V-5B, which the embedded world shares.

Its autoencoder encodes the photo as a single frame, which replaces the first latent frame at every step, and that
frame's tokens get timestep 0. Wan 2.1 and 2.2 A14B feed the photo by other routes and are refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.images import unit
from anti_i2v.surrogates.base import Draw, Surrogate
from anti_i2v.surrogates.quick import quicken

if TYPE_CHECKING:
    from diffusers import AutoencoderKLWan, DiffusionPipeline


class WanSurrogate(Surrogate):
    """A frozen `WanImageToVideoPipeline` with `expand_timesteps`."""

    vae: AutoencoderKLWan
    latents_mean: Tensor
    latents_std: Tensor
    keep: Tensor

    def __init__(self, pipeline: DiffusionPipeline, taps: Sequence[str], height: int, width: int, num_frames: int, steps: int) -> None:
        super().__init__(pipeline, taps, height, width, num_frames, steps)
        space, time = pipeline.vae_scale_factor_spatial, pipeline.vae_scale_factor_temporal
        self._patch: tuple[int, int, int] = tuple(pipeline.transformer.config.patch_size)
        rows, columns = space * self._patch[1], space * self._patch[2]
        if height < rows or width < columns or height % rows or width % columns:
            raise UsageError(f"height × width is {height} × {width}; this Wan needs multiples of {rows} × {columns}")
        if num_frames < 1 or (num_frames - 1) % time:
            raise UsageError(f"num_frames is {num_frames}; this Wan needs 1 + a multiple of {time}: {4 * time + 1}, …")
        quicken(pipeline.vae)  # a photo is a single frame
        config = pipeline.vae.config
        self._shape = (config.z_dim, (num_frames - 1) // time + 1, height // space, width // space)
        statistics = torch.tensor([config.latents_mean, config.latents_std]).view(2, 1, config.z_dim, 1, 1, 1)
        keep = torch.ones(1, 1, *self._shape[1:])
        keep[:, :, 0] = 0  # 1 where the noise stays, 0 where the photo replaces it
        for name, value in (("latents_mean", statistics[0]), ("latents_std", statistics[1]), ("keep", keep)):
            self.register_buffer(name, value, persistent=False)

    @classmethod
    def variant(cls, source: str, index: Mapping[str, object]) -> type[Surrogate]:
        """Wan 2.1 and 2.2 A14B are refused."""
        if not index.get("expand_timesteps"):
            raise UsageError(
                f"{source} is a Wan pipeline without expand_timesteps (Wan 2.1, 2.2 A14B), which is not supported; "
                "supported: the layout of Wan 2.2 TI2V-5B, such as the shipped portrait-dit"
            )
        return cls

    def latent_shape(self, batch: int) -> tuple[int, ...]:
        """`(B, channels, latent frames, latent height, latent width)`."""
        return (batch, *self._shape)

    def encode_prompts(self, prompts: list[str]) -> dict[str, Tensor]:
        """`prompt_embeds` `(prompts, length, channels)`; Wan's 512 tokens, or fewer where the tokenizer ends."""
        length = min(512, self.pipeline.tokenizer.model_max_length)
        embeds, _ = self.pipeline.encode_prompt(prompt=prompts, do_classifier_free_guidance=False, max_sequence_length=length)
        return {"prompt_embeds": embeds}

    def condition(self, image: Tensor, image_noise: Tensor | None = None) -> dict[str, Tensor]:
        """`latents` `(B, channels, 1, h, w)`: the photo as one normalised latent frame (the posterior's mode)."""
        frame = (unit(image) * 2 - 1).unsqueeze(2)
        latents = self.vae.encode(frame).latent_dist.mode()
        return {"latents": (latents - self.latents_mean) / self.latents_std}

    def noisy(self, condition: Mapping[str, Tensor], draw: Draw) -> Tensor:
        """At step 0 pure noise, like the pipeline; later a noised still clip of the photo, without gradient.

        What the pipeline has denoised by a later step is not known here; a clip that has not begun to move is the
        nearest thing that is. At inference the photo reaches it through the model only, so no gradient takes this
        short cut.
        """
        if draw.step == 0:
            return draw.noise
        return (1 - draw.sigma) * condition["latents"].detach() + draw.sigma * draw.noise

    def inputs(self, condition: Mapping[str, Tensor], text: Mapping[str, Tensor], latents: Tensor, timestep: Tensor) -> dict[str, object]:
        """The photo in latent frame 0, one timestep a token, 0 on the photo's tokens."""
        _, rows, columns = self._patch
        per_token = (self.keep[0, 0, :, ::rows, ::columns] * timestep).flatten().expand(len(latents), -1)
        return {
            "hidden_states": self.final(condition, latents),
            "timestep": per_token,
            "encoder_hidden_states": text["prompt_embeds"],
            "encoder_hidden_states_image": None,
            "attention_kwargs": None,
        }

    def final(self, condition: Mapping[str, Tensor], latents: Tensor) -> Tensor:
        """The latents with the photo as frame 0."""
        return (1 - self.keep) * condition["latents"] + self.keep * latents

    def decoded(self, condition: Mapping[str, Tensor]) -> Tensor:
        """See `Surrogate.decoded`: the single latent frame of the photo, decoded alone."""
        return self.decode(condition["latents"])[:, 0]

    def decode(self, latents: Tensor) -> Tensor:
        """Normalised latents `(B, channels, latent frames, h, w)` → clips `(B, num_frames, 3, height, width)`."""
        with self._float32():
            video: Tensor = self.vae.decode(latents * self.latents_std + self.latents_mean, return_dict=False)[0]
        return unit(video / 2 + 0.5).transpose(1, 2)
