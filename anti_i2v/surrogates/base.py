"""The surrogate contract: a frozen image-to-video pipeline as a differentiable function photo, prompt, draw → features.

This file has the methods that callers use, the same for all families; `frozen.py` has what each family defines.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.surrogates.capture import check_taps, count_blocks, read_layers, record_layers
from anti_i2v.surrogates.draw import DECODED, ERROR, LATENT, PHOTO, VAE_LAYERS, Draw, Tensors, denoiser_layers
from anti_i2v.surrogates.frozen import FrozenPipeline
from anti_i2v.surrogates.loading import load_pipeline, read_index, text_identity
from anti_i2v.surrogates.registry import find_family
from anti_i2v.surrogates.texts import PromptCache, TextStore

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline


class Surrogate(FrozenPipeline):
    """A frozen image-to-video pipeline. Build one with `Surrogate.from_pretrained`.

    It stays in evaluation mode and without parameter gradients whatever is called on it, and computes in float32
    outside autocast: reduced precision moves the autoencoder's latents by more than a small residual does.

    Args:
        pipeline: The loaded diffusers pipeline; its networks are frozen in place.
        taps: Names of layers of the denoiser; `vae.` and the name of a layer of the autoencoder; `decoded` for the photo
            reconstructed by the autoencoder, `photo` for the photo itself, `latent` and `error`, see `anti_i2v.surrogates.draw`.
        height: Height of the photos and clips in pixels.
        width: Width of the photos and clips in pixels.
        num_frames: Length of the clips.
        steps: Length of the schedule that draws come from.
    """

    def __init__(self, pipeline: DiffusionPipeline, taps: Sequence[str], height: int, width: int, num_frames: int, steps: int) -> None:
        super().__init__(pipeline, height, width, num_frames, steps)
        self.taps = self._check_taps(taps)
        self.texts = PromptCache()
        self.features_only = False

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
            prompts: All that will be needed. They are encoded once and stored on disk (see `texts`); the text encoder is
                dropped then, and not even loaded where all of them are stored already.
            dtype: Of the denoiser; autoencoder and image encoder are always float32.
            checkpointing: Compute layers again in the backward pass instead of keeping what they need, where the classes can.
            features_only: Load what features at the taps need and no more; such a surrogate cannot animate.

        Raises:
            UsageError: The source is no pipeline of a supported class, or the other arguments do not fit it.
        """
        location, index = read_index(source)
        family = find_family(source, index)
        assert issubclass(family, Surrogate)  # as every family is; the registry knows them by class path only
        texts = PromptCache()
        if prompts and family.has_text:  # families read the same encoder to different lengths, and it is loaded in that type
            texts = PromptCache(TextStore(f"{family.__name__} {dtype} {text_identity(location, family.text_parts)}"))
        without = family.unused_parts
        if prompts and family.has_text and not texts.missing(prompts):
            without += family.text_encoders()
        num_blocks = count_blocks(taps, family.block_lists) if features_only else {}
        pipeline = load_pipeline(location, getattr(torch, dtype), without, dict.fromkeys(family.denoiser_names, num_blocks))
        surrogate = family(pipeline, taps, height, width, num_frames, steps)
        surrogate.texts = texts
        if prompts:
            surrogate.encode_text(list(prompts))
            surrogate.drop_text_encoder()
        if checkpointing:
            surrogate.checkpoint_layers()
        if features_only:
            surrogate.keep_features_only()
        return surrogate

    # -------------------------------------------------------------------------------------------------------- memory
    def checkpoint_layers(self) -> None:
        """Compute layers again in the backward pass instead of keeping what they need, where the classes can."""
        for name in (*self.denoiser_names, "vae"):
            part = getattr(self.pipeline, name, None)
            if part is not None and getattr(part, "_supports_gradient_checkpointing", False):
                part.enable_gradient_checkpointing()

    def keep_features_only(self) -> None:
        """Free the decoder unless the tap `decoded` needs it; no clips from now on."""
        self.features_only = True
        if DECODED not in self.taps:
            self.vae.decoder = None

    def drop_text_encoder(self) -> None:
        """Free what reads only prompts, the largest part of most pipelines; those encoded so far stay known."""
        for name in self.text_encoders() if self.has_text else ():
            setattr(self.pipeline, name, None)

    def train(self, mode: bool = True) -> Surrogate:
        """Stay in evaluation mode: a training loop's `train()` must not switch a frozen model's behaviour."""
        return super().train(False)

    # ---------------------------------------------------------------------------------------------------------- taps
    def _check_taps(self, taps: Sequence[str]) -> tuple[str, ...]:
        layers = denoiser_layers(taps)
        if layers or not taps:
            check_taps(self.denoiser, layers)
        if vae_layers := [tap.removeprefix(VAE_LAYERS) for tap in taps if tap.startswith(VAE_LAYERS)]:
            check_taps(self.vae, vae_layers)
        if ERROR in taps and type(self).prediction_error is Surrogate.prediction_error:
            raise UsageError(f"{type(self).__name__} has no tap {ERROR!r} yet; it is there for Wan, CogVideoX and SVD")
        if DECODED in taps and self.vae.decoder is None:
            raise UsageError(f"the decoder was dropped, so there is no tap {DECODED!r}; name it when loading")
        return tuple(dict.fromkeys(taps))

    def with_taps(self, taps: Sequence[str]) -> Surrogate:
        """The same frozen model, its weights shared, read at other taps."""
        other = copy.copy(self)
        other.taps = self._check_taps(taps)
        return other

    # ---------------------------------------------------------------------------------------------------------- text
    def encode_text(self, prompts: list[str]) -> dict[str, Tensor]:
        """What the denoiser needs of the prompts; each different prompt is encoded once and remembered.

        Returns:
            Arguments of the denoiser, first dimension `len(prompts)`; none if the pipeline takes no prompts.

        Raises:
            UsageError: The text encoder was dropped and a prompt was never encoded before.
        """
        if not self.has_text or not prompts:
            return {}
        new = self.texts.missing(prompts)
        if new and getattr(self.pipeline, self.text_parts[0], None) is None:
            raise UsageError(f"the text encoder was dropped before the prompt {new[0]!r} was encoded; name all prompts when loading")
        for group in [[prompt] for prompt in new] if self.encode_prompts_singly else [new] if new else []:
            with torch.no_grad(), torch.autocast(self.text_device.type, enabled=False):
                self.texts.add(group, self.encode_prompts(group))
        batch = self.stack_texts([self.texts[prompt] for prompt in prompts])
        return {key: value.to(self.device) for key, value in batch.items()}

    # --------------------------------------------------------------------------------------------------------- draws
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
        choices = [step for step, sigma in enumerate(self.sigmas) if min_sigma - tolerance <= sigma <= max_sigma + tolerance]
        if not choices:
            levels = f"the schedule's are {min(self.sigmas):.4f} to {max(self.sigmas):.4f}"
            raise UsageError(f"no noise level lies between min_sigma {min_sigma} and max_sigma {max_sigma}; {levels}")
        choice = torch.randint(len(choices), (1,), generator=generator, device=generator.device)
        return self.draw_at(choices[int(choice)], batch, generator)

    def draw_at(self, step: int, batch: int, generator: torch.Generator) -> Draw:
        """Draw noise for a batch at a given step of the schedule; see `draw`."""
        image_noise = self._image_noise(batch, generator)
        noise = torch.randn(self.latent_shape(batch), generator=generator, device=generator.device).to(self.device)
        return Draw(step, self.timesteps[step].to(self.device), self.sigmas[step], noise, image_noise, self.token_frames)

    def _image_noise(self, batch: int, generator: torch.Generator) -> Tensor | None:
        shape = self.image_noise_shape(batch)
        return None if shape is None else torch.randn(shape, generator=generator, device=generator.device).to(self.device)

    @torch.no_grad()
    def with_reference(self, draw: Draw, video: Tensor) -> Draw:
        """The draw with its noise put on a given clip, the same for every photo, instead of on a still clip of the photo itself.

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

    # ------------------------------------------------------------------------------------------------------ features
    def forward(self, image: Tensor, text: Tensors, draw: Draw, early_exit: bool = True) -> dict[str, Tensor]:
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
        image, text = self._check_inputs(image, text)
        if len(draw.noise) != len(image):
            raise UsageError(f"{len(image)} photos but a draw for {len(draw.noise)}; draw for the batch")
        with self._float32():
            features = {PHOTO: image} if PHOTO in self.taps else {}
            vae_layers = [tap.removeprefix(VAE_LAYERS) for tap in self.taps if tap.startswith(VAE_LAYERS)]
            with record_layers(self.vae, vae_layers) as outputs:
                condition = self.condition(image, draw.image_noise)
            features |= {VAE_LAYERS + layer: value.float() for layer, value in outputs.items()}
            if LATENT in self.taps:
                features[LATENT] = self.latent(condition).float()
            if DECODED in self.taps:
                features[DECODED] = self.reconstruct(condition).float()
            return features | self._read_denoiser(condition, text, draw, early_exit)

    def _read_denoiser(self, condition: dict[str, Tensor], text: Tensors, draw: Draw, early_exit: bool) -> dict[str, Tensor]:
        """Features at the taps that need the denoiser; without any it does not run."""
        layers = [*denoiser_layers(self.taps), *([""] if ERROR in self.taps else [])]  # the layer "" is the denoiser itself
        if not layers:
            return {}
        condition = self.join_text(condition, text)
        arguments = self.typed_inputs(condition, text, self.noisy_latents(condition, draw), draw.timestep)
        outputs = read_layers(self.denoiser_at(draw.timestep), layers, {**arguments, "return_dict": False}, early_exit)
        features = {tap: self.group_by_photo(value, len(draw.noise)).float() for tap, value in outputs.items() if tap}
        if "" in outputs:
            features[ERROR] = self.prediction_error(outputs[""].float(), condition, draw).float()
        return features

    def _check_inputs(self, image: Tensor, text: Tensors) -> tuple[Tensor, dict[str, Tensor]]:
        """Photos in float32 and one text for each, or a `UsageError`."""
        batch = len(image)
        if image.ndim != 4 or image.shape[1:] != (3, self.height, self.width):
            size = f"(B, 3, {self.height}, {self.width})"
            raise UsageError(f"the surrogate takes photos {size}, not {tuple(image.shape)}; resize them first")
        for key, value in text.items():
            if len(value) not in (1, batch):
                raise UsageError(f"{batch} photos but {len(value)} prompts ({key}); give one prompt, or one a photo")
        return image.float(), {key: value.expand(batch, *value.shape[1:]) for key, value in text.items()}

    # --------------------------------------------------------------------------------------------------------- clips
    @torch.no_grad()
    def animate(self, image: Tensor, text: Tensors, seed: int, steps: int | None = None) -> Tensor:
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
        image, text = self._check_inputs(image, text)
        scheduler = self._schedule(self.steps if steps is None else steps)
        with self._float32():
            generator = torch.Generator().manual_seed(seed)
            image_noises, noises, generators = [], [], []
            for position in range(len(image)):  # photo after photo, each in the pipelines' own order
                image_noises.append(self._image_noise(1, generator))
                noises.append(torch.randn(self.latent_shape(1), generator=generator))
                generators.append(generator.clone_state())  # goes on where the pipeline's own generator would
                if position:  # elsewhere that would repeat a neighbour's noise
                    generators[-1].manual_seed(int(torch.randint(2**62, (1,), generator=generators[-1])))
            scheduler = self.seed_scheduler(scheduler, generators)
            image_noise = [noise for noise in image_noises if noise is not None]
            condition = self.join_text(self.condition(image, torch.cat(image_noise) if image_noise else None), text)
            latents = torch.cat(noises).to(self.device) * getattr(scheduler, "init_noise_sigma", 1.0)  # flows start from unit noise
            return self.decode(self.finish(condition, self.denoise(latents, condition, text, scheduler)))
