"""The surrogate contract: a frozen image-to-video pipeline as a differentiable function photo, prompt, draw → features.

A family (a file beside this one) states how its pipeline turns a photo into the denoiser's arguments; everything else,
loading, text, noise levels, reading layers, sampling a clip, is here and the same for all.
"""

from __future__ import annotations

import copy
import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from anti_i2v.errors import UsageError
from anti_i2v.surrogates.capture import capture, check_taps
from anti_i2v.surrogates.loading import load_pipeline, read_index

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline, SchedulerMixin

FAMILIES = {
    "StableVideoDiffusionPipeline": "anti_i2v.surrogates.svd.SVDSurrogate",
    "WanImageToVideoPipeline": "anti_i2v.surrogates.wan.WanSurrogate",
}
"""Class of a diffusers pipeline → class path of its surrogate, imported only when asked for."""


DECODED = "decoded"
"""The tap that is no layer: the photo as the autoencoder paints it again, where a change of shape can be told from a tint."""

PHOTO = "photo"
"""The tap that is no layer either: the photo as the pipeline is given it, for objectives that say what it shall stay."""

PICTURES = (DECODED, PHOTO)


@dataclass(frozen=True)
class Draw:
    """What does not depend on the photo, so that a photo and its protected version see the same.

    Attributes:
        step: Index into the pipeline's own schedule; 0 is the noisiest.
        timestep: Scalar, what the pipeline hands its denoiser at that step.
        sigma: Share of noise at that step, in [0, 1]: the flow's own; where noise of standard deviation s is added to the
            latents instead, s / (1 + s), the share of the same signal-to-noise ratio.
        noise: Unit Gaussian in the layout of the pipeline's latents, float32.
        image_noise: Unit Gaussian like the photos, for pipelines that add noise to the photo before they encode it.
    """

    step: int
    timestep: Tensor
    sigma: float
    noise: Tensor
    image_noise: Tensor | None = None


class Surrogate(nn.Module, ABC):
    """A frozen image-to-video pipeline. Build one with `Surrogate.from_pretrained`.

    It stays in evaluation mode and without parameter gradients whatever is called on it, and computes in float32
    outside autocast: reduced precision moves the autoencoder's latents by more than a small residual does.

    Args:
        pipeline: The loaded diffusers pipeline; its denoiser and autoencoder are frozen in place.
        taps: Names of layers of the denoiser, `decoded` for the photo through the autoencoder and back, `photo` for itself.
        height: Height of the photos and clips in pixels.
        width: Width of the photos and clips in pixels.
        num_frames: Length of the clips.
        steps: Length of the schedule that draws come from.
    """

    denoiser_name = "transformer"
    """The denoiser's attribute in the pipeline."""
    has_text = True
    """Whether the pipeline takes prompts; without, every text is the empty dictionary."""

    def __init__(self, pipeline: DiffusionPipeline, taps: Sequence[str], height: int, width: int, num_frames: int, steps: int) -> None:
        super().__init__()
        self.pipeline = pipeline  # a plain attribute: only what `to()` must move is registered below
        self.denoiser: nn.Module = getattr(pipeline, self.denoiser_name)
        self.vae: nn.Module = pipeline.vae
        self.taps = self._checked(taps)
        self.height, self.width, self.num_frames, self.steps = height, width, num_frames, steps
        scheduler = self._schedule(steps)
        self.timesteps: Tensor = scheduler.timesteps
        self.sigmas: list[float] = self.noise_shares(scheduler).tolist()
        self._texts: dict[str, dict[str, Tensor]] = {}
        for part in (self, getattr(pipeline, "text_encoder", None)):
            if part is not None:
                part.requires_grad_(False).eval()

    @staticmethod
    def from_pretrained(
        source: str, taps: Sequence[str], height: int = 128, width: int = 128, num_frames: int = 9, steps: int = 20
    ) -> Surrogate:
        """Load a diffusers pipeline in float32 and wrap it in the class of its family.

        Args:
            source: A pipeline folder, the name of a shipped checkpoint such as `portrait-dit`, or a hub id such as
                `Wan-AI/Wan2.2-TI2V-5B-Diffusers`.
            taps: Names of layers of the denoiser, such as `blocks.11`; `decoded` and `photo`, see the class.
            height: Height of the photos in pixels.
            width: Width of the photos in pixels.
            num_frames: Length of the clips.
            steps: Length of the schedule that draws come from.

        Raises:
            UsageError: The source is no pipeline of a supported class, or the other arguments do not fit it.
        """
        location, index = read_index(source)
        name = str(index.get("_class_name"))
        if name not in FAMILIES:
            raise UsageError(f"{source} is a {name}; supported pipelines: {', '.join(sorted(FAMILIES))}")
        module, _, attribute = FAMILIES[name].rpartition(".")
        family: type[Surrogate] = getattr(importlib.import_module(module), attribute)
        return family.variant(source, index)(load_pipeline(location), taps, height, width, num_frames, steps)

    def train(self, mode: bool = True) -> Surrogate:
        """Stay in evaluation mode: a training loop's `train()` must not switch a frozen model's behaviour."""
        return super().train(False)

    def _checked(self, taps: Sequence[str]) -> tuple[str, ...]:
        layers = [tap for tap in taps if tap not in PICTURES]
        if layers or not taps:
            check_taps(self.denoiser, layers)
        return tuple(dict.fromkeys(taps))

    def tapped(self, taps: Sequence[str]) -> Surrogate:
        """The same frozen model, its weights shared, read at other taps."""
        other = copy.copy(self)
        other.taps = self._checked(taps)
        return other

    @property
    def device(self) -> torch.device:
        """Where the denoiser lives."""
        return next(self.denoiser.parameters()).device

    def _schedule(self, steps: int) -> SchedulerMixin:
        if steps < 1:
            raise UsageError(f"steps is {steps}; a schedule needs at least 1")
        scheduler = copy.deepcopy(self.pipeline.scheduler)  # it is stateful, and the pipeline's own may be in use
        scheduler.set_timesteps(steps, device=self.device)
        return scheduler

    def _float32(self) -> torch.autocast:
        return torch.autocast(self.device.type, enabled=False)

    def encode_text(self, prompts: list[str]) -> dict[str, Tensor]:
        """What the denoiser needs of the prompts; each different prompt is encoded once and remembered.

        Returns:
            Arguments of the denoiser, first dimension `len(prompts)`; none if the pipeline takes no prompts.

        Raises:
            UsageError: The text encoder was dropped and a prompt was never encoded before.
        """
        if not self.has_text:
            return {}
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._texts]
        if new:
            if getattr(self.pipeline, "text_encoder", None) is None:
                raise UsageError(f"the text encoder was dropped before the prompt {new[0]!r} was encoded")
            with torch.no_grad(), self._float32():
                encoded = self.encode_prompts(new)
            for i, prompt in enumerate(new):
                self._texts[prompt] = {key: value[i].clone() for key, value in encoded.items()}
        rows = [self._texts[prompt] for prompt in prompts]
        return {key: torch.stack([row[key] for row in rows]).to(self.device) for key in rows[0]} if rows else {}

    def drop_text_encoder(self) -> None:
        """Free the text encoder, the largest part of most pipelines; prompts encoded so far stay known."""
        if self.has_text:
            self.pipeline.text_encoder = None

    def draw(self, batch: int, generator: torch.Generator, min_sigma: float = 0.0) -> Draw:
        """Draw a noise level of the pipeline's own schedule, uniformly, and noise for a batch.

        Args:
            batch: Number of photos.
            generator: Decides everything; a CPU generator gives the same draw on every device.
            min_sigma: Only steps at least this noisy.

        Raises:
            UsageError: No step of the schedule is that noisy.
        """
        tolerance = 1e-5  # the first sigma of a flow schedule is 1 − 1e-6, and 1.0 means that step
        allowed = [step for step, sigma in enumerate(self.sigmas) if sigma >= min_sigma - tolerance]
        if not allowed:
            raise UsageError(f"min_sigma is {min_sigma}; the schedule's largest sigma is {max(self.sigmas):.4f}")
        where = generator.device
        step = allowed[int(torch.randint(len(allowed), (1,), generator=generator, device=where))]
        image_noise = self._image_noise(batch, generator)
        noise = torch.randn(self.latent_shape(batch), generator=generator, device=where).to(self.device)
        return Draw(step, self.timesteps[step].to(self.device), self.sigmas[step], noise, image_noise)

    def _image_noise(self, batch: int, generator: torch.Generator) -> Tensor | None:
        shape = self.image_noise_shape(batch)
        return None if shape is None else torch.randn(shape, generator=generator, device=generator.device).to(self.device)

    def forward(self, image: Tensor, text: Mapping[str, Tensor], draw: Draw, early_exit: bool = True) -> dict[str, Tensor]:
        """Features of photos at the taps, differentiable in the photos.

        Args:
            image: `(B, 3, height, width)` in [0, 1]; resize before, differentiably.
            text: From `encode_text`, first dimension B or 1.
            draw: From `draw`, for B photos.
            early_exit: Stop at the deepest tap; only the time differs.

        Returns:
            Tap → features with the photos first, float32: of a transformer `(B, tokens, channels)`, of a U-Net
            `(B, channels, frames, h, w)`; `decoded` and `photo` `(B, 3, height, width)` in [0, 1].

        Raises:
            UsageError: Size of the photos, number of prompts or number of noises do not fit.
        """
        image, text = self._fitting(image, text)
        if len(draw.noise) != len(image):
            raise UsageError(f"{len(image)} photos but a draw for {len(draw.noise)}; draw for the batch")
        with self._float32():
            condition = self.condition(image, draw.image_noise)
            features = {DECODED: self.decoded(condition).float()} if DECODED in self.taps else {}
            features |= {PHOTO: image} if PHOTO in self.taps else {}
            layers = [tap for tap in self.taps if tap not in PICTURES]
            if layers:  # without, the denoiser need not run
                condition = self.joined(condition, text)
                arguments = self.inputs(condition, text, self.noisy(condition, draw), draw.timestep)
                read = capture(self.denoiser_at(draw.timestep), layers, {**arguments, "return_dict": False}, early_exit)
                features |= {tap: self.by_photo(value, len(image)).float() for tap, value in read.items()}
            return {tap: features[tap] for tap in self.taps}

    @torch.no_grad()
    def animate(self, image: Tensor, text: Mapping[str, Tensor], seed: int, steps: int | None = None) -> Tensor:
        """Clips that the pipeline makes of photos, without guidance.

        The noise is a function of the seed and the position in the batch, so a batch of photos and the batch of their
        protected versions start from the same. Position 0 equals the pipeline's own call with a CPU generator of that
        seed.

        Args:
            image: `(B, 3, height, width)` in [0, 1].
            text: From `encode_text`, first dimension B or 1.
            seed: Seed of the noise.
            steps: Denoising steps; the surrogate's own number if not given.

        Returns:
            `(B, num_frames, 3, height, width)` in [0, 1].
        """
        image, text = self._fitting(image, text)
        scheduler = self._schedule(self.steps if steps is None else steps)
        with self._float32():
            generator = torch.Generator().manual_seed(seed)
            image_noise, noise = [], []
            for _ in range(len(image)):  # photo after photo, each in the pipelines' own order
                image_noise.append(self._image_noise(1, generator))
                noise.append(torch.randn(self.latent_shape(1), generator=generator))
            drawn = [one for one in image_noise if one is not None]
            condition = self.joined(self.condition(image, torch.cat(drawn) if drawn else None), text)
            latents = torch.cat(noise).to(self.device) * scheduler.init_noise_sigma
            return self.decode(self.final(condition, self.denoise(latents, condition, text, scheduler)))

    def denoise(self, latents: Tensor, condition: Mapping[str, Tensor], text: Mapping[str, Tensor], scheduler: SchedulerMixin) -> Tensor:
        """The pipeline's own loop from noise to latents; overridden where a scheduler's step takes or returns more than most."""
        for timestep in scheduler.timesteps:
            scaled = scheduler.scale_model_input(latents, timestep) if hasattr(scheduler, "scale_model_input") else latents
            arguments = self.inputs(condition, text, scaled, timestep)
            output = self.denoiser_at(timestep)(**arguments, return_dict=False)[0]
            latents = scheduler.step(output, timestep, latents, return_dict=False)[0]
        return latents

    def _fitting(self, image: Tensor, text: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Photos in float32 and one text for each, or a `UsageError`."""
        batch = len(image)
        if image.ndim != 4 or image.shape[1:] != (3, self.height, self.width):
            size = f"(B, 3, {self.height}, {self.width})"
            raise UsageError(f"the surrogate takes photos {size}, not {tuple(image.shape)}; resize them first")
        for key, value in text.items():
            if len(value) not in (1, batch):
                raise UsageError(f"{batch} photos but {len(value)} prompts ({key}); give one prompt, or one a photo")
        return image.float(), {key: value.expand(batch, *value.shape[1:]) for key, value in text.items()}

    # ------------------------------------------------------------------------------------------------ per family
    @classmethod
    def variant(cls, source: str, index: Mapping[str, object]) -> type[Surrogate]:
        """The class for a pipeline of this family by its model_index.json, which is known before gigabytes are loaded.

        Raises:
            UsageError: This variant of the family is not supported.
        """
        return cls

    def denoiser_at(self, timestep: Tensor) -> nn.Module:
        """The network that is in charge at a timestep; the only one unless overridden."""
        return self.denoiser

    @abstractmethod
    def latent_shape(self, batch: int) -> tuple[int, ...]:
        """Shape of the latents of a batch of clips."""

    def image_noise_shape(self, batch: int) -> tuple[int, ...] | None:
        """Shape of the noise that the pipeline adds to the photos before it encodes them; None if it adds none."""
        return None

    def noise_shares(self, scheduler: SchedulerMixin) -> Tensor:
        """Shares of noise `(steps,)` of the scheduler's timesteps, see `Draw.sigma`; a flow's levels are shares."""
        sigmas: Tensor = scheduler.sigmas[: len(scheduler.timesteps)]
        return sigmas

    @abstractmethod
    def encode_prompts(self, prompts: list[str]) -> dict[str, Tensor]:
        """What the denoiser needs of the prompts, by the pipeline's own text encoding; first dimension the prompts."""

    @abstractmethod
    def condition(self, image: Tensor, image_noise: Tensor | None = None) -> dict[str, Tensor]:
        """Everything the pipeline computes from photos `(B, 3, height, width)` in [0, 1], differentiable.

        `image_noise` is a draw's; without it a pipeline that adds noise to the photo is shown the photo itself.
        """

    def joined(self, condition: dict[str, Tensor], text: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`condition` with what depends on the photo and the prompt together; as it is unless overridden."""
        return condition

    @abstractmethod
    def noisy(self, condition: Mapping[str, Tensor], draw: Draw) -> Tensor:
        """The noisy latents of a draw, in the shape `latent_shape(B)`, scaled as `inputs` takes them."""

    @abstractmethod
    def inputs(self, condition: Mapping[str, Tensor], text: Mapping[str, Tensor], latents: Tensor, timestep: Tensor) -> dict[str, object]:
        """Exactly the keyword arguments the pipeline hands its denoiser for these latents at this timestep.

        `latents` are what the scheduler's `scale_model_input` makes of those it steps.
        """

    def by_photo(self, value: Tensor, batch: int) -> Tensor:
        """The output of a tap with the photos as its first dimension, as it is unless overridden."""
        return value

    def final(self, condition: Mapping[str, Tensor], latents: Tensor) -> Tensor:
        """What the pipeline does to the latents between its last step and the decoder; nothing unless overridden."""
        return latents

    def decoded(self, condition: Mapping[str, Tensor]) -> Tensor:
        """The photo as the autoencoder paints it from `condition`, `(B, 3, height, width)` in [0, 1], differentiable."""
        raise UsageError(f"{type(self).__name__} has no tap {DECODED!r} yet; name layers of its denoiser")

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Latents → clips `(B, num_frames, 3, height, width)` in [0, 1]."""
