"""What the layouts of Wan share: sizes, the autoencoder and its statistics, the text, the still clip of later steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.imaging.tensors import unit
from anti_i2v.surrogates.base import Surrogate
from anti_i2v.surrogates.draw import Draw
from anti_i2v.surrogates.fast_wan_vae import quicken

if TYPE_CHECKING:
    from diffusers import AutoencoderKLWan, DiffusionPipeline

TEXT_LENGTH = 512
"""Tokens of a prompt, padded; where the photo's tokens stand before them, Wan's attention splits the two at this number."""


class WanBase(Surrogate):
    """A frozen pipeline with Wan's autoencoder, whose `condition` gives `latents` with the photo as frame 0."""

    block_lists: ClassVar[Mapping[str, str]] = {"blocks": "num_layers"}
    named = "Wan"
    """What messages call the family."""

    vae: AutoencoderKLWan
    latents_mean: Tensor
    latents_std: Tensor

    def __init__(self, pipeline: DiffusionPipeline, taps: Sequence[str], height: int, width: int, num_frames: int, steps: int) -> None:
        super().__init__(pipeline, taps, height, width, num_frames, steps)
        space, time = pipeline.vae_scale_factor_spatial, pipeline.vae_scale_factor_temporal
        self._patch: tuple[int, int, int] = tuple(pipeline.transformer.config.patch_size)
        rows, columns = space * self._patch[1], space * self._patch[2]
        if height < rows or width < columns or height % rows or width % columns:
            raise UsageError(f"height × width is {height} × {width}; this {self.named} needs multiples of {rows} × {columns}")
        if num_frames < 1 or (num_frames - 1) % time:
            raise UsageError(f"num_frames is {num_frames}; this {self.named} needs 1 + a multiple of {time}: {4 * time + 1}, …")
        quicken(pipeline.vae)
        config = pipeline.vae.config
        self._shape = (config.z_dim, (num_frames - 1) // time + 1, height // space, width // space)
        statistics = torch.tensor([config.latents_mean, config.latents_std]).view(2, 1, config.z_dim, 1, 1, 1)
        for name, value in (("latents_mean", statistics[0]), ("latents_std", statistics[1])):
            self.register_buffer(name, value, persistent=False)

    @property
    def text_length(self) -> int:
        """Tokens of a prompt."""
        return TEXT_LENGTH

    def latent_shape(self, batch: int) -> tuple[int, ...]:
        """`(B, channels, latent frames, latent height, latent width)`."""
        return (batch, *self._shape)

    def encode_prompts(self, prompts: list[str]) -> dict[str, Tensor]:
        """`prompt_embeds` `(prompts, text_length, channels)`."""
        embeds, _ = self.pipeline.encode_prompt(
            prompt=prompts, do_classifier_free_guidance=False, max_sequence_length=self.text_length, device=self.text_device
        )
        return {"prompt_embeds": embeds}

    def text_shapes(self) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        """See `Surrogate.text_shapes`."""
        return {"prompt_embeds": ((self.text_length, self.pipeline.transformer.config.text_dim), torch.float32)}

    def noisy(self, condition: Mapping[str, Tensor], draw: Draw) -> Tensor:
        """At step 0 pure noise, like the pipeline; later a noised still clip of the photo, without gradient.

        What the pipeline has denoised by a later step is not known here; a clip that has not begun to move is the
        nearest thing that is. At inference the photo reaches it through the model only, so no gradient takes this
        short cut.
        """
        if draw.step == 0:
            return draw.noise
        return (1 - draw.sigma) * self.clip(condition, draw) + draw.sigma * draw.noise

    def clip(self, condition: Mapping[str, Tensor], draw: Draw) -> Tensor:
        """The latents that the noise is put on: the draw's reference, or the photo's in every frame."""
        return condition["latents"][:, :, :1].detach() if draw.reference is None else draw.reference

    def encode_clip(self, video: Tensor) -> Tensor:
        """See `Surrogate.encode_clip`."""
        return self.normalised(self.vae.encode(unit(video.transpose(1, 2)) * 2 - 1).latent_dist.mode())

    def error(self, answer: Tensor, condition: Mapping[str, Tensor], draw: Draw) -> Tensor:
        """See `Surrogate.error`; the right answer of a flow is noise less clip."""
        return answer - (draw.noise - self.clip(condition, draw))

    def normalised(self, latents: Tensor) -> Tensor:
        """The autoencoder's latents as the denoiser knows them."""
        return (latents - self.latents_mean) / self.latents_std

    def decoded(self, condition: Mapping[str, Tensor]) -> Tensor:
        """See `Surrogate.decoded`: the latent frame of the photo, decoded alone."""
        return self.decode(condition["latents"][:, :, :1])[:, 0]

    def decode(self, latents: Tensor) -> Tensor:
        """Normalised latents `(B, channels, latent frames, h, w)` → clips `(B, num_frames, 3, height, width)`."""
        with self._float32():
            video: Tensor = self.vae.decode(latents * self.latents_std + self.latents_mean, return_dict=False)[0]
        return unit(video / 2 + 0.5).transpose(1, 2)
