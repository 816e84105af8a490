"""What each family of pipelines defines: how its pipeline turns a photo into the denoiser's arguments, and latents into a clip.

`FrozenPipeline` has what most pipelines do, so that a family (a file in `families/`) overrides only what differs;
`pipeline.PipelineSurrogate`, which every family inherits, what all of them do in the same way.
"""

from __future__ import annotations

import copy
import inspect
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from anti_i2v.errors import UsageError
from anti_i2v.imaging.tensors import unit
from anti_i2v.surrogates.autoencoders.classes import decode_pixels, encode_pixels
from anti_i2v.surrogates.base import Surrogate
from anti_i2v.surrogates.draw import ERROR, Draw, Tensors

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline, SchedulerMixin


class FrozenPipeline(Surrogate):
    """A diffusers pipeline whose networks are frozen in place."""

    denoiser_name = "transformer"
    """The denoiser's attribute in the pipeline."""
    denoiser_names: tuple[str, ...] = ("transformer",)
    """All of them, where timesteps are shared out."""
    block_lists: ClassVar[Mapping[str, str]] = {}
    """Lists of blocks in the denoiser, in the order of computation → the entry of its configuration with their number."""
    has_text = True
    """Whether the pipeline takes prompts; without, every text is the empty dictionary."""
    text_parts: tuple[str, ...] = ("text_encoder", "tokenizer")
    """Parts of the pipeline on which the encoding of prompts depends, an encoder that can be dropped first."""
    photo_parts: tuple[str, ...] = ()
    """Those of `text_parts` that photos go through as well."""
    encode_prompts_singly = False
    """Whether `encode_prompts` must be given one prompt at a time."""
    unused_parts: tuple[str, ...] = ()
    """Parts of the pipeline that neither features nor clips need; they are not loaded."""
    float32_arguments: frozenset[str] = frozenset({"timestep", "image_rotary_emb"})
    """Arguments of the denoiser that stay in float32 where its weights do not."""

    def __init__(self, pipeline: DiffusionPipeline, height: int, width: int, num_frames: int, steps: int) -> None:
        super().__init__(pipeline.vae, height, width, num_frames)
        self.pipeline = pipeline  # a plain attribute: only what `to()` must move is registered
        self.denoiser: nn.Module = getattr(pipeline, self.denoiser_name)
        for part in pipeline.components.values():
            if isinstance(part, nn.Module):
                part.requires_grad_(False).eval()
        self.steps = steps
        self.clip_shape = self.check_sizes()
        scheduler = self._schedule(steps)
        self.timesteps: Tensor = scheduler.timesteps
        self.sigmas: list[float] = self.noise_shares(scheduler).tolist()
        self._prepare()
        self.eval()

    def _prepare(self) -> None:
        """Check the pipeline's configuration, or raise a `UsageError`, and register what the family needs beside denoiser and VAE."""

    @property
    def device(self) -> torch.device:
        return next(self.denoiser.parameters()).device

    @property
    def text_device(self) -> torch.device:
        """Where the text encoder lies; `to()` leaves it behind, because it is the largest part and soon dropped."""
        device: torch.device = getattr(self.pipeline, self.text_parts[0]).device
        return device

    @classmethod
    def text_encoders(cls) -> tuple[str, ...]:
        """The networks among `text_parts` that only prompts go through, so that they can be dropped."""
        return tuple(name for name in cls.text_parts if name.startswith("text_encoder") and name not in cls.photo_parts)

    @classmethod
    def variant(cls, source: str, index: Mapping[str, object]) -> type[FrozenPipeline]:
        """The class for a pipeline by its model_index.json, before gigabytes are loaded; a `UsageError` where there is none."""
        return cls

    @abstractmethod
    def check_sizes(self) -> tuple[int, ...]:
        """The shape of one clip's latents, such as `(channels, frames, h, w)`, from `height`, `width` and `num_frames`.

        Raises:
            UsageError: The pipeline would refuse these sizes, or round them.
        """

    def latent_shape(self, batch: int) -> tuple[int, ...]:
        """Shape of the latents of a batch of clips."""
        return (batch, *self.clip_shape)

    @property
    def token_frames(self) -> int:
        """Latent frames that the denoiser's tokens cover, one after the other; where latents are `(B, channels, frames, h, w)`."""
        return self.clip_shape[1]

    def image_noise_shape(self, batch: int) -> tuple[int, ...] | None:
        """Shape of the noise that the pipeline adds to the photos before it encodes them; None if it adds none."""
        return None

    def _schedule(self, steps: int) -> SchedulerMixin:
        if steps < 1:
            raise UsageError(f"steps is {steps}; a schedule needs at least 1")
        scheduler = copy.deepcopy(self.pipeline.scheduler)  # it is stateful, and the pipeline's own may be in use
        self._set_timesteps(scheduler, steps)
        return scheduler

    def _set_timesteps(self, scheduler: SchedulerMixin, steps: int) -> None:
        """What the pipeline's call does for a schedule of that length; overridden where it takes more than the length."""
        scheduler.set_timesteps(steps, device=self.device)

    def noise_shares(self, scheduler: SchedulerMixin) -> Tensor:
        """Shares of noise `(steps,)` of the scheduler's timesteps, see `Draw.sigma`; a flow's levels are shares."""
        sigmas: Tensor = scheduler.sigmas[: len(scheduler.timesteps)]
        return sigmas

    def seed_scheduler(self, scheduler: SchedulerMixin, generators: list[torch.Generator]) -> SchedulerMixin:
        """The scheduler of one `animate`: where its steps add noise, that of each photo comes from a generator of its own."""
        if "generator" in inspect.signature(scheduler.step).parameters:
            scheduler.step = partial(scheduler.step, generator=generators)
        return scheduler

    @abstractmethod
    def encode_prompts(self, prompts: list[str]) -> dict[str, Tensor]:
        """What the denoiser needs of the prompts, by the pipeline's own text encoding; first dimension the prompts."""

    def stack_texts(self, texts: Sequence[Tensors]) -> dict[str, Tensor]:
        """Single encodings, without a batch dimension, as a batch; overridden where their lengths differ."""
        return {key: torch.stack([text[key] for text in texts]) for key in texts[0]}

    def text_shapes(self) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        """Shape and type of what `encode_prompts` gives for one prompt, to estimate memory without a text encoder."""
        return {}

    def join_text(self, condition: dict[str, Tensor], text: Tensors) -> dict[str, Tensor]:
        """`condition` with what depends on the photo and the prompt together; as it is unless overridden."""
        return condition

    def encode_video(self, video: Tensor) -> Tensor:
        """Frames `(B, T, 3, H, W)` in [0, 1] → the mode of the autoencoder's latents `(B, channels, frames, h, w)`, not scaled."""
        return encode_pixels(self.vae, unit(video.transpose(1, 2)) * 2 - 1)

    def encode_photo(self, image: Tensor) -> Tensor:
        """Photos `(B, 3, height, width)` in [0, 1] → one latent frame `(B, channels, 1, h, w)` each, not scaled.

        The mode of the posterior, where most pipelines sample: the photo alone decides.
        """
        return self.encode_video(image.unsqueeze(1))

    def clip_latents(self, condition: Tensors, draw: Draw) -> Tensor:
        """The clip that noise is put on: the draw's reference, or a still clip of the photo, without gradient."""
        return condition["latents"].detach() if draw.reference is None else draw.reference

    def noisy_latents(self, condition: Tensors, draw: Draw) -> Tensor:
        """The noisy latents of a draw, in the shape `latent_shape(B)`, scaled as `inputs` takes them.

        At step 0 pure noise, like the pipeline; later a flow's mixture of clip and noise. What the pipeline has denoised by a
        later step is not known here; a clip that has not begun to move is the nearest thing that is. At inference the photo
        reaches it through the model only, so no gradient takes this short cut.
        """
        if draw.step == 0:
            return draw.noise
        return (1 - draw.sigma) * self.clip_latents(condition, draw) + draw.sigma * draw.noise

    @abstractmethod
    def inputs(self, condition: Tensors, text: Tensors, latents: Tensor, timestep: Tensor) -> dict[str, object]:
        """Exactly the keyword arguments the pipeline hands its denoiser for these latents at this timestep.

        `latents` are what the scheduler's `scale_model_input` makes of those it steps.
        """

    def denoiser_at(self, timestep: Tensor) -> nn.Module:
        """The network that is in charge at a timestep; the only one unless overridden."""
        return self.denoiser

    def typed_inputs(self, condition: Tensors, text: Tensors, latents: Tensor, timestep: Tensor) -> dict[str, object]:
        """`inputs` in the type of the denoiser's weights, as the pipelines cast them; see `float32_arguments`."""
        dtype: torch.dtype = self.denoiser.dtype  # type: ignore[assignment]  # of diffusers: not that of layers left in float32
        arguments = self.inputs(condition, text, latents, timestep)
        for name, value in arguments.items():
            if isinstance(value, Tensor) and value.is_floating_point() and name not in self.float32_arguments:
                arguments[name] = value.to(dtype)
        return arguments

    def predict(self, condition: Tensors, text: Tensors, latents: Tensor, timestep: Tensor) -> Tensor:
        """The denoiser's prediction in float32; latents as `inputs` takes them."""
        output: Tensor = self.denoiser_at(timestep)(**self.typed_inputs(condition, text, latents, timestep), return_dict=False)[0]
        return output.float()

    def denoise(self, latents: Tensor, condition: Tensors, text: Tensors, scheduler: SchedulerMixin) -> Tensor:
        """The pipeline's own loop from noise to latents; overridden where a scheduler's step takes or returns more than most."""
        for timestep in scheduler.timesteps:
            scaled = scheduler.scale_model_input(latents, timestep) if hasattr(scheduler, "scale_model_input") else latents
            output = self.predict(condition, text, scaled, timestep)
            latents = scheduler.step(output, timestep, latents, return_dict=False)[0]
        return latents

    def finish(self, condition: Tensors, latents: Tensor) -> Tensor:
        """What the pipeline does to the latents between its last step and the decoder; nothing unless overridden."""
        return latents

    def group_by_photo(self, value: Tensor, batch: int) -> Tensor:
        """The output of a layer with the photos as its first dimension, as it is unless overridden."""
        return value

    def prediction_error(self, prediction: Tensor, condition: Tensors, draw: Draw) -> Tensor:
        """The tap `error`: the denoiser's prediction less the true value, `(B, channels, frames, h, w)`, 0 where the photo stands."""
        raise NotImplementedError(f"{type(self).__name__} has no tap {ERROR!r}")  # refused when the taps were checked

    def reconstruct(self, condition: Tensors) -> Tensor:
        return self.decode(condition["latents"])[:, 0]

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Latents → clips `(B, num_frames, 3, height, width)` in [0, 1]."""

    def decode_video(self, latents: Tensor) -> Tensor:
        """The autoencoder's own latents `(B, channels, frames, h, w)`, not scaled → frames `(B, T, 3, H, W)` in [0, 1]."""
        with self._float32():
            return unit(decode_pixels(self.vae, latents) / 2 + 0.5).transpose(1, 2)
