"""CogVideoX 1.0 and 1.5 image-to-video: a diffusion transformer with v-prediction.

Its autoencoder encodes the photo as a single latent frame; with zeros for all later frames it stands beside the noisy
latents, channel by channel, at every step. Unlike most, the latents are `(B, frames, channels, h, w)`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from anti_i2v.errors import UsageError
from anti_i2v.surrogates.draw import Draw, Tensors
from anti_i2v.surrogates.families.shared import check_length, check_size, shares_of_alphas
from anti_i2v.surrogates.pipeline import PipelineSurrogate

if TYPE_CHECKING:
    from diffusers import SchedulerMixin

SCHEDULERS = ("CogVideoXDDIMScheduler", "CogVideoXDPMScheduler")


class CogVideoXSurrogate(PipelineSurrogate):
    """A frozen `CogVideoXImageToVideoPipeline`; 1.5 is what has a patch size in time.

    1.5 needs a multiple of `patch_size_t` latent frames, its clips have an odd number of them, so one is added; before
    decoding, the pipeline drops the *first*, the one whose condition is the photo.
    """

    block_lists: ClassVar[Mapping[str, str]] = {"transformer_blocks": "num_layers"}

    def check_sizes(self) -> tuple[int, ...]:
        """`(latent frames, channels, latent height, latent width)`, of 1.5 with the frame that is added."""
        config = self.pipeline.transformer.config
        space, time = self.pipeline.vae_scale_factor_spatial, self.pipeline.vae_scale_factor_temporal
        size, trained = (self.height, self.width), (config.sample_height * space, config.sample_width * space)
        actual = f"height × width is {self.height} × {self.width}"
        if config.use_learned_positional_embeddings and size != trained:
            raise UsageError(
                f"{actual}; this CogVideoX has learned positions for {trained[0]} × {trained[1]} only; take that size, or CogVideoX 1.5"
            )
        check_size("CogVideoX", *size, space * config.patch_size)
        if config.patch_size_t is not None and config.use_rotary_positional_embeddings and (size[0] > trained[0] or size[1] > trained[1]):
            raise UsageError(f"{actual}; this CogVideoX has positions up to {trained[0]} × {trained[1]}; take a smaller size")
        if config.use_learned_positional_embeddings and self.num_frames != config.sample_frames:
            raise UsageError(
                f"num_frames is {self.num_frames}; this CogVideoX has learned positions for {config.sample_frames} frames only, "
                f"others would silently get positions without training; take {config.sample_frames}, or CogVideoX 1.5"
            )
        # Latent frames in an odd number: of an even number the autoencoder makes more pictures than the call names.
        check_length("CogVideoX", self.num_frames, 2 * time)
        frames = (self.num_frames - 1) // time + 1
        return (frames + self._extra, config.in_channels // 2, self.height // space, self.width // space)

    @property
    def _extra(self) -> int:
        """Latent frames that are added in front."""
        frames = (self.num_frames - 1) // self.pipeline.vae_scale_factor_temporal + 1
        return int(-frames % (self.pipeline.transformer.config.patch_size_t or 1))

    @property
    def _video_scale(self) -> float:
        return float(self.vae.config.scaling_factor)

    def noise_shares(self, scheduler: SchedulerMixin) -> Tensor:
        return shares_of_alphas(scheduler)

    @classmethod
    def variant(cls, source: str, index: Mapping[str, object]) -> type[PipelineSurrogate]:
        """1.0 and 1.5, with the schedulers that they were published with."""
        entry = index.get("scheduler")
        name = entry[-1] if isinstance(entry, (list, tuple)) else entry
        if name not in SCHEDULERS:
            raise UsageError(f"{source} is a CogVideoX with a {name}, which is not supported; supported: {', '.join(SCHEDULERS)}")
        return cls

    @property
    def token_frames(self) -> int:
        return int(self.clip_shape[0] // (self.pipeline.transformer.config.patch_size_t or 1))

    def encode_prompts(self, prompts: list[str]) -> dict[str, Tensor]:
        """`prompt_embeds` `(prompts, length, channels)`, at the length that the transformer was trained with."""
        length = self.pipeline.transformer.config.max_text_seq_length
        embeds, _ = self.pipeline.encode_prompt(
            prompt=prompts, do_classifier_free_guidance=False, max_sequence_length=length, device=self.text_device
        )
        return {"prompt_embeds": embeds}

    def text_shapes(self) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        config = self.pipeline.transformer.config
        return {"prompt_embeds": ((config.max_text_seq_length, config.text_embed_dim), torch.float32)}

    def condition(self, image: Tensor, image_noise: Tensor | None = None) -> dict[str, Tensor]:
        """`latents` `(B, 1, channels, h, w)`: the photo as one latent frame, not scaled."""
        return {"latents": self.encode_photo(image).transpose(1, 2)}

    def noisy_latents(self, condition: Tensors, draw: Draw) -> Tensor:
        """See `FrozenPipeline.noisy_latents`; signal and noise are mixed so that their squares sum to 1."""
        if draw.step == 0:
            return draw.noise
        signal, noise = 1 - draw.sigma, draw.sigma  # the scheduler's √ᾱ and √(1 − ᾱ), once their squares sum to 1
        return (signal * self.clip_latents(condition, draw) + noise * draw.noise) / math.hypot(signal, noise)

    def clip_latents(self, condition: Tensors, draw: Draw) -> Tensor:
        """See `FrozenPipeline.clip_latents`; the photo's latents are not scaled yet."""
        return condition["latents"].detach() * self._video_scale if draw.reference is None else draw.reference

    def encode_clip(self, video: Tensor) -> Tensor:
        """See `FrozenPipeline.encode_clip`; the frame that 1.5 adds stands first and repeats the one behind it."""
        latents = self.encode_video(video).transpose(1, 2) * self._video_scale
        return torch.cat([latents[:, :1].expand(-1, self._extra, -1, -1, -1), latents], dim=1)

    def prediction_error(self, prediction: Tensor, condition: Tensors, draw: Draw) -> Tensor:
        """See `FrozenPipeline.prediction_error`; the true value is the velocity √ᾱ ε - √(1 - ᾱ) x (arXiv 2202.00512)."""
        signal, noise = 1 - draw.sigma, draw.sigma
        velocity = (signal * draw.noise - noise * self.clip_latents(condition, draw)) / math.hypot(signal, noise)
        return (prediction - velocity).transpose(1, 2)

    def latent(self, condition: Tensors) -> Tensor:
        return condition["latents"].transpose(1, 2)

    def inputs(self, condition: Tensors, text: Tensors, latents: Tensor, timestep: Tensor) -> dict[str, object]:
        """The photo's latent and zeros beside the noisy latents; rotary positions and the offset where the model has them."""
        config, frames = self.pipeline.transformer.config, latents.shape[1]
        # CogVideoX 1.5 was trained with the photo's latent divided by the factor that its clips are multiplied by.
        scale = 1 / self._video_scale if self.vae.config.invert_scale_latents else self._video_scale
        photo = F.pad(condition["latents"] * scale, (0, 0, 0, 0, 0, 0, 0, frames - 1))
        rotary = None
        if config.use_rotary_positional_embeddings:
            rotary = self.pipeline._prepare_rotary_positional_embeddings(self.height, self.width, frames, latents.device)
        return {
            "hidden_states": torch.cat([latents, photo], dim=2),
            "encoder_hidden_states": text["prompt_embeds"],
            "timestep": timestep.expand(len(latents)),
            "ofs": None if config.ofs_embed_dim is None else latents.new_full((1,), 2.0),
            "image_rotary_emb": rotary,
            "attention_kwargs": None,
        }

    def group_by_photo(self, value: Tensor, batch: int) -> Tensor:
        """`(B, tokens, channels)`; the patch embedding of 1.0 takes the frames as a batch."""
        if value.ndim != 4 or len(value) == batch:
            return value
        return value.flatten(2).transpose(1, 2).reshape(batch, -1, value.shape[1])

    def denoise(self, latents: Tensor, condition: Tensors, text: Tensors, scheduler: SchedulerMixin) -> Tensor:
        """The pipeline's own loop: the DPM scheduler also takes the step before, its timestep and its guess of the clean latents."""
        from diffusers import CogVideoXDPMScheduler

        if not isinstance(scheduler, CogVideoXDPMScheduler):
            return super().denoise(latents, condition, text, scheduler)
        guess, before = None, None
        for timestep in scheduler.timesteps:
            output = self.predict(condition, text, latents, timestep)
            latents, guess = scheduler.step(output, guess, timestep, before, latents, return_dict=False)
            before = timestep
        return latents

    def finish(self, condition: Tensors, latents: Tensor) -> Tensor:
        """Without the frames that 1.5 adds; the pipeline drops the first ones."""
        return latents[:, self._extra :]

    def reconstruct(self, condition: Tensors) -> Tensor:
        """See `FrozenPipeline.reconstruct`; the photo's latents are not scaled yet."""
        return self.decode(condition["latents"] * self._video_scale)[:, 0]

    def decode(self, latents: Tensor) -> Tensor:
        """Scaled latents `(B, latent frames, channels, h, w)` → clips `(B, num_frames, 3, height, width)`."""
        return self.decode_video(latents.transpose(1, 2) / self._video_scale)
