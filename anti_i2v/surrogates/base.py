"""The surrogate contract: a frozen image-to-video pipeline as a differentiable function photo, prompt, draw → features.

A family (a file beside this one) states how its pipeline turns a photo into the denoiser's arguments; everything else,
loading, text, noise levels, reading layers, sampling a clip, is here and the same for all.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor, nn

from anti_i2v.errors import UsageError
from anti_i2v.surrogates.capture import blocks_needed, capture, check_taps, recording
from anti_i2v.surrogates.draw import DECODED, ERROR, LATENT, PHOTO, VAE_LAYERS, Draw, denoiser_layers
from anti_i2v.surrogates.loading import load_pipeline, read_index, text_identity
from anti_i2v.surrogates.registry import family_of
from anti_i2v.surrogates.texts import TextStore

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline, SchedulerMixin


class Surrogate(nn.Module, ABC):
    """A frozen image-to-video pipeline. Build one with `Surrogate.from_pretrained`.

    It stays in evaluation mode and without parameter gradients whatever is called on it, and computes in float32
    outside autocast: reduced precision moves the autoencoder's latents by more than a small residual does.

    Args:
        pipeline: The loaded diffusers pipeline; its denoiser and autoencoder are frozen in place.
        taps: Names of layers of the denoiser; `vae.` and the name of a layer of the autoencoder; `decoded` for the photo
            through the autoencoder and back, `photo` for itself, `latent` and `error`, see `anti_i2v.surrogates.draw`.
        height: Height of the photos and clips in pixels.
        width: Width of the photos and clips in pixels.
        num_frames: Length of the clips.
        steps: Length of the schedule that draws come from.
    """

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
    never_loaded: tuple[str, ...] = ()
    """Parts of the pipeline that neither features nor clips need."""
    uncast: frozenset[str] = frozenset({"timestep", "image_rotary_emb"})
    """Arguments of the denoiser that stay in float32 where its weights do not."""

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
        self._store: TextStore | None = None
        self.features_only = False
        for part in (self, *(getattr(pipeline, name, None) for name in (*self.text_encoders(), *self.photo_parts))):
            if part is not None:
                part.requires_grad_(False).eval()

    @classmethod
    def text_encoders(cls) -> tuple[str, ...]:
        """The networks among `text_parts` that only prompts go through, so that they can be dropped."""
        return tuple(name for name in cls.text_parts if name.startswith("text_encoder") and name not in cls.photo_parts)

    @staticmethod
    def from_pretrained(
        source: str,
        taps: Sequence[str],
        height: int = 128,
        width: int = 128,
        num_frames: int = 9,
        steps: int = 20,
        prompts: Sequence[str] = (),
        dtype: Literal["float32", "bfloat16"] = "float32",
        checkpointing: bool = False,
        features_only: bool = False,
    ) -> Surrogate:
        """Load a diffusers pipeline and wrap it in the class of its family.

        Args:
            source: A pipeline folder, the name of a shipped checkpoint such as `portrait-dit`, or a hub id such as
                `Wan-AI/Wan2.2-TI2V-5B-Diffusers`, which `@` and a revision may follow.
            taps: Names of layers of the denoiser, such as `blocks.11`, and the others that the class names.
            height: Height of the photos in pixels.
            width: Width of the photos in pixels.
            num_frames: Length of the clips.
            steps: Length of the schedule that draws come from.
            prompts: All that will be asked for. They are encoded once and kept on disk (see `texts`), and the text encoder is
                not held, or not even loaded where they all lie there.
            dtype: Of the denoiser; autoencoder and image encoder are always float32.
            checkpointing: Compute layers again in the backward pass instead of keeping what they need, where the classes can.
            features_only: Load what features at the taps need and no more; such a surrogate cannot animate.

        Raises:
            UsageError: The source is no pipeline of a supported class, or the other arguments do not fit it.
        """
        location, index = read_index(source)
        family = family_of(source, index)
        store = None
        if prompts and family.has_text:  # families read the same encoder to different lengths, and it is loaded in that type
            store = TextStore(f"{family.__name__} {dtype} {text_identity(location, family.text_parts)}")
        known = {prompt: store.get(prompt) for prompt in dict.fromkeys(prompts)} if store is not None else {}
        spared = known and all(value is not None for value in known.values())
        counts = blocks_needed(taps, family.block_lists) if features_only else {}
        pipeline = load_pipeline(
            location,
            getattr(torch, dtype),
            (*family.never_loaded, *(family.text_encoders() if spared else ())),
            {name: counts for name in family.denoiser_names} if counts else None,
        )
        made = family(pipeline, taps, height, width, num_frames, steps)
        made._store = store
        made._texts = {prompt: value for prompt, value in known.items() if value is not None}
        if prompts:
            made.encode_text(list(prompts))
            made.drop_text_encoder()
        if checkpointing:
            made.checkpoint_layers()
        if features_only:
            made.drop_what_animates()
        return made

    def checkpoint_layers(self) -> None:
        """Compute layers again in the backward pass instead of keeping what they need, where the classes can."""
        for name in (*self.denoiser_names, "vae"):
            part = getattr(self.pipeline, name, None)
            if part is not None and getattr(part, "_supports_gradient_checkpointing", False):
                part.enable_gradient_checkpointing()

    def drop_what_animates(self) -> None:
        """Free the decoder unless the tap `decoded` needs it; no clips from now on."""
        self.features_only = True
        if DECODED not in self.taps:
            setattr(self.vae, "decoder", None)  # noqa: B010  # a module's attribute to the type checker

    def train(self, mode: bool = True) -> Surrogate:
        """Stay in evaluation mode: a training loop's `train()` must not switch a frozen model's behaviour."""
        return super().train(False)

    def _checked(self, taps: Sequence[str]) -> tuple[str, ...]:
        layers = denoiser_layers(taps)
        if layers or not taps:
            check_taps(self.denoiser, layers)
        if encoder := [tap.removeprefix(VAE_LAYERS) for tap in taps if tap.startswith(VAE_LAYERS)]:
            check_taps(self.vae, encoder)
        if ERROR in taps and type(self).error is Surrogate.error:
            raise UsageError(f"{type(self).__name__} has no tap {ERROR!r} yet; it is there for Wan, CogVideoX and SVD")
        if DECODED in taps and self.vae.decoder is None:
            raise UsageError(f"the decoder was dropped, so there is no tap {DECODED!r}; name it when loading")
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
        self._set_timesteps(scheduler, steps)
        return scheduler

    def _set_timesteps(self, scheduler: SchedulerMixin, steps: int) -> None:
        """The pipeline's own way to a schedule of that length; overridden where it takes more than the length."""
        scheduler.set_timesteps(steps, device=self.device)

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
            if getattr(self.pipeline, self.text_parts[0], None) is None:
                raise UsageError(f"the text encoder was dropped before the prompt {new[0]!r} was encoded")
            with torch.no_grad(), torch.autocast(self.text_device.type, enabled=False):
                encoded = self.encode_prompts(new)
            for i, prompt in enumerate(new):
                values = {key: value[i] for key, value in encoded.items()}
                self._texts[prompt] = {k: v.float() if v.is_floating_point() else v.clone() for k, v in values.items()}
                if self._store is not None:
                    self._store.put(prompt, self._texts[prompt])
        batch = self.stacked([self._texts[prompt] for prompt in prompts]) if prompts else {}
        return {key: value.to(self.device) for key, value in batch.items()}

    @property
    def text_device(self) -> torch.device:
        """Where the text encoder is held; `to()` leaves it behind, because it is the largest part and soon gone."""
        found: torch.device = getattr(self.pipeline, self.text_parts[0]).device
        return found

    def drop_text_encoder(self) -> None:
        """Free what reads prompts, the largest part of most pipelines; those encoded so far stay known."""
        for name in self.text_encoders() if self.has_text else ():
            setattr(self.pipeline, name, None)

    def draw(self, batch: int, generator: torch.Generator, min_sigma: float = 0.0, max_sigma: float = 1.0) -> Draw:
        """Draw a noise level of the pipeline's own schedule, uniformly, and noise for a batch.

        Args:
            batch: Number of photos.
            generator: Decides everything; a CPU generator gives the same draw on every device.
            min_sigma: Only steps at least this noisy.
            max_sigma: Only steps at most this noisy.

        Raises:
            UsageError: No step of the schedule is that noisy.
        """
        tolerance = 1e-5  # the first sigma of a flow schedule is 1 − 1e-6, and 1.0 means that step
        allowed = [step for step, sigma in enumerate(self.sigmas) if min_sigma - tolerance <= sigma <= max_sigma + tolerance]
        if not allowed:
            levels = f"the schedule's are {min(self.sigmas):.4f} to {max(self.sigmas):.4f}"
            raise UsageError(f"no noise level lies between min_sigma {min_sigma} and max_sigma {max_sigma}; {levels}")
        where = generator.device
        step = allowed[int(torch.randint(len(allowed), (1,), generator=generator, device=where))]
        image_noise = self._image_noise(batch, generator)
        noise = torch.randn(self.latent_shape(batch), generator=generator, device=where).to(self.device)
        return Draw(step, self.timesteps[step].to(self.device), self.sigmas[step], noise, image_noise, self.token_frames)

    @torch.no_grad()
    def referenced(self, draw: Draw, video: Tensor) -> Draw:
        """The draw with the noise put on a clip, the same whatever photo is asked about: a reference video, or what there is instead.

        Args:
            draw: From `draw`.
            video: Clips `(B, num_frames, 3, height, width)` in [0, 1], or photos `(B, 3, height, width)`, each for a still clip.

        Raises:
            UsageError: The clips are of another size, or this family encodes none yet.
        """
        clip = video.unsqueeze(1).expand(-1, self.num_frames, -1, -1, -1) if video.ndim == 4 else video
        if clip.ndim != 5 or clip.shape[1:] != (self.num_frames, 3, self.height, self.width):
            size = f"(B, {self.num_frames}, 3, {self.height}, {self.width})"
            raise UsageError(f"a reference is a clip {size}, not {tuple(video.shape)}; cut and resize it first")
        with self._float32():
            return replace(draw, reference=self.encode_clip(clip.float()))

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
            Tap → features with the photos first, float32, in the order of computation: of a transformer `(B, tokens, channels)`, of
            a U-Net `(B, channels, frames, h, w)`; `decoded` and `photo` `(B, 3, height, width)` in [0, 1].

        Raises:
            UsageError: Size of the photos, number of prompts or number of noises do not fit.
        """
        image, text = self._fitting(image, text)
        if len(draw.noise) != len(image):
            raise UsageError(f"{len(image)} photos but a draw for {len(draw.noise)}; draw for the batch")
        with self._float32():
            features = {PHOTO: image} if PHOTO in self.taps else {}
            with recording(self.vae, [tap.removeprefix(VAE_LAYERS) for tap in self.taps if tap.startswith(VAE_LAYERS)]) as read:
                condition = self.condition(image, draw.image_noise)
            features |= {VAE_LAYERS + tap: value.float() for tap, value in read.items()}
            features |= {LATENT: self.latent(condition).float()} if LATENT in self.taps else {}
            features |= {DECODED: self.decoded(condition).float()} if DECODED in self.taps else {}
            layers = [*denoiser_layers(self.taps), *([""] if ERROR in self.taps else [])]  # "" is its answer
            if layers:  # without, the denoiser need not run
                condition = self.joined(condition, text)
                arguments = self._typed(self.inputs(condition, text, self.noisy(condition, draw), draw.timestep))
                read = capture(self.denoiser_at(draw.timestep), layers, {**arguments, "return_dict": False}, early_exit)
                if "" in read:
                    read[ERROR] = self.error(read.pop("").float(), condition, draw)
                features |= {tap: (value if tap == ERROR else self.by_photo(value, len(image))).float() for tap, value in read.items()}
            return features

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
        if self.features_only:
            raise UsageError("this surrogate was loaded for features only; load it without features_only to animate")
        image, text = self._fitting(image, text)
        scheduler = self._schedule(self.steps if steps is None else steps)
        with self._float32():
            generator = torch.Generator().manual_seed(seed)
            image_noise, noise, own = [], [], []
            for position in range(len(image)):  # photo after photo, each in the pipelines' own order
                image_noise.append(self._image_noise(1, generator))
                noise.append(torch.randn(self.latent_shape(1), generator=generator))
                own.append(generator.clone_state())  # goes on where the pipeline's own generator would
                if position:  # elsewhere that would repeat a neighbour's noise
                    own[-1].manual_seed(int(torch.randint(2**62, (1,), generator=own[-1])))
            scheduler = self.seeded(scheduler, own)
            drawn = [one for one in image_noise if one is not None]
            condition = self.joined(self.condition(image, torch.cat(drawn) if drawn else None), text)
            latents = torch.cat(noise).to(self.device) * getattr(scheduler, "init_noise_sigma", 1.0)  # flows start from unit noise
            return self.decode(self.final(condition, self.denoise(latents, condition, text, scheduler)))

    def denoise(self, latents: Tensor, condition: Mapping[str, Tensor], text: Mapping[str, Tensor], scheduler: SchedulerMixin) -> Tensor:
        """The pipeline's own loop from noise to latents; overridden where a scheduler's step takes or returns more than most."""
        for timestep in scheduler.timesteps:
            scaled = scheduler.scale_model_input(latents, timestep) if hasattr(scheduler, "scale_model_input") else latents
            output = self.predict(condition, text, scaled, timestep)
            latents = scheduler.step(output, timestep, latents, return_dict=False)[0]
        return latents

    def predict(self, condition: Mapping[str, Tensor], text: Mapping[str, Tensor], latents: Tensor, timestep: Tensor) -> Tensor:
        """The denoiser's answer in float32; latents as `inputs` takes them."""
        arguments = self._typed(self.inputs(condition, text, latents, timestep))
        output: Tensor = self.denoiser_at(timestep)(**arguments, return_dict=False)[0]
        return output.float()

    def _typed(self, arguments: dict[str, object]) -> dict[str, object]:
        """Arguments in the type of the denoiser's weights, as the pipelines cast them; see `uncast`."""
        kind: torch.dtype = self.denoiser.dtype  # type: ignore[assignment]  # diffusers' own: not that of layers kept in float32
        return {
            name: value.to(kind) if isinstance(value, Tensor) and value.is_floating_point() and name not in self.uncast else value
            for name, value in arguments.items()
        }

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

    @property
    def token_frames(self) -> int:
        """Latent frames that the denoiser's tokens cover, one after the other; where latents are `(B, channels, frames, h, w)`."""
        return self.latent_shape(1)[2]

    def image_noise_shape(self, batch: int) -> tuple[int, ...] | None:
        """Shape of the noise that the pipeline adds to the photos before it encodes them; None if it adds none."""
        return None

    def noise_shares(self, scheduler: SchedulerMixin) -> Tensor:
        """Shares of noise `(steps,)` of the scheduler's timesteps, see `Draw.sigma`; a flow's levels are shares."""
        sigmas: Tensor = scheduler.sigmas[: len(scheduler.timesteps)]
        return sigmas

    def seeded(self, scheduler: SchedulerMixin, generators: list[torch.Generator]) -> SchedulerMixin:
        """The scheduler of one `animate`; overridden where its steps draw noise, to draw it from a photo's own generator."""
        return scheduler

    @abstractmethod
    def encode_prompts(self, prompts: list[str]) -> dict[str, Tensor]:
        """What the denoiser needs of the prompts, by the pipeline's own text encoding; first dimension the prompts."""

    def stacked(self, texts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Single encodings, without a batch dimension, as a batch; overridden where their lengths differ."""
        return {key: torch.stack([text[key] for text in texts]) for key in texts[0]}

    def text_shapes(self) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        """Shape and type of what `encode_prompts` gives for one prompt, for whoever plans without a text encoder."""
        return {}

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

    def latent(self, condition: Mapping[str, Tensor]) -> Tensor:
        """What the autoencoder makes of the photo, `(B, channels, …)`."""
        if "latents" not in condition:
            raise UsageError(f"{type(self).__name__} has no tap {LATENT!r} yet; name layers of its autoencoder, {VAE_LAYERS}encoder.…")
        return condition["latents"]

    def encode_clip(self, video: Tensor) -> Tensor:
        """Clips `(B, num_frames, 3, height, width)` in [0, 1] → latents in `latent_shape`, as `noisy` adds noise to them."""
        raise UsageError(f"{type(self).__name__} encodes no reference clips yet; leave out the reference")

    def error(self, answer: Tensor, condition: Mapping[str, Tensor], draw: Draw) -> Tensor:
        """The tap `error`: the denoiser's answer at a draw less the right one, `(B, channels, frames, h, w)`, 0 where the photo stands."""
        raise NotImplementedError(f"{type(self).__name__} takes no tap {ERROR!r}")  # `_checked` refused it

    def decoded(self, condition: Mapping[str, Tensor]) -> Tensor:
        """The photo as the autoencoder paints it from `condition`, `(B, 3, height, width)` in [0, 1], differentiable."""
        raise UsageError(f"{type(self).__name__} has no tap {DECODED!r} yet; name layers of its denoiser")

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Latents → clips `(B, num_frames, 3, height, width)` in [0, 1]."""
