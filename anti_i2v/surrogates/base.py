"""The surrogate contract: a frozen model as a differentiable function photo, prompt, draw → features.

This file has what callers use, the same for every surrogate. `pipeline.PipelineSurrogate` is an image-to-video pipeline,
`autoencoder.AutoencoderSurrogate` the autoencoder of one alone.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

import torch
from torch import Tensor, nn

from anti_i2v.errors import UsageError
from anti_i2v.surrogates.capture import check_taps, record_layers
from anti_i2v.surrogates.draw import DECODED, LATENT, PHOTO, VAE_LAYERS, Draw, Tensors
from anti_i2v.surrogates.registry import find_class

if TYPE_CHECKING:
    from diffusers import ModelMixin


@dataclass(frozen=True)
class LoadOptions:
    """What `Surrogate.from_pretrained` is asked for beside the source; its arguments by the same names."""

    taps: Sequence[str]
    height: int = 128
    width: int = 128
    num_frames: int = 9
    steps: int = 20
    prompts: Sequence[str] = ()
    dtype: Literal["float32", "bfloat16"] = "float32"
    checkpointing: bool = False
    features_only: bool = False


class Surrogate(nn.Module, ABC):
    """A frozen model that looks at photos. Build one with `Surrogate.from_pretrained`.

    It stays in evaluation mode and without parameter gradients whatever is called on it, and computes in float32
    outside autocast: reduced precision moves the autoencoder's latents by more than a small residual does.

    Args:
        vae: Its autoencoder.
        height: Height of the photos and clips in pixels.
        width: Width of the photos and clips in pixels.
        num_frames: Length of the clips.

    Attributes:
        taps: What is read of it, see `anti_i2v.surrogates.draw`.
        features_only: Whether it makes no clips.
    """

    taps: tuple[str, ...]
    vae: ModelMixin

    def __init__(self, vae: ModelMixin, height: int, width: int, num_frames: int) -> None:
        super().__init__()
        self.vae = vae
        self.height, self.width, self.num_frames = height, width, num_frames
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
        """Load a diffusers pipeline, or an autoencoder alone, and wrap it in the class for it.

        Args:
            source: A pipeline folder, the name of a shipped checkpoint such as `portrait-dit`, or a hub id such as
                `Wan-AI/Wan2.2-TI2V-5B-Diffusers`, which `@` and a revision may follow. Of an autoencoder alone its folder,
                a pipeline with `/vae` behind it, or the file of a tiny one; see `autoencoders.source`.
            taps: Names of layers of the denoiser, such as `blocks.11`, and the others in `anti_i2v.surrogates.draw`.
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
            UsageError: The source is of no supported class, or the other arguments do not fit it.
        """
        options = LoadOptions(taps, height, width, num_frames, steps, prompts, dtype, checkpointing, features_only)
        surrogate = find_class(source).load(source, options)
        if checkpointing:
            surrogate.checkpoint_layers()
        if features_only:
            surrogate.keep_features_only()
        return surrogate

    @classmethod
    @abstractmethod
    def load(cls, source: str, options: LoadOptions) -> Surrogate:
        """What `from_pretrained` loads once the class is known; it does the rest for all classes alike."""

    # -------------------------------------------------------------------------------------------------------- memory
    @property
    def device(self) -> torch.device:
        """Where its weights lie."""
        device: torch.device = next(self.vae.parameters()).device
        return device

    @property
    @abstractmethod
    def cell(self) -> tuple[int, int]:
        """Rows and columns of pixels that become one token of the denoiser, or one place of the latent where nothing reads tokens."""

    def checkpoint_layers(self) -> None:
        """Compute layers again in the backward pass instead of keeping what they need, where the classes can."""
        if getattr(self.vae, "_supports_gradient_checkpointing", False):
            self.vae.enable_gradient_checkpointing()

    def keep_features_only(self) -> None:
        """Free the decoder unless the tap `decoded` needs it; no clips from now on."""
        self.features_only = True
        if DECODED not in self.taps:
            self.vae.decoder = None

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode: a training loop's `train()` must not switch a frozen model's behaviour."""
        return super().train(False)

    # ---------------------------------------------------------------------------------------------------------- taps
    def _check_taps(self, taps: Sequence[str]) -> tuple[str, ...]:
        """The taps without repetitions, or a `UsageError` where there is none of a name; here those of the autoencoder."""
        if vae_layers := [tap.removeprefix(VAE_LAYERS) for tap in taps if tap.startswith(VAE_LAYERS)]:
            check_taps(self.vae, vae_layers)
        if DECODED in taps and self.vae.decoder is None:
            raise UsageError(f"the decoder was dropped, so there is no tap {DECODED!r}; name it when loading")
        return tuple(dict.fromkeys(taps))

    def with_taps(self, taps: Sequence[str]) -> Self:
        """The same frozen model, its weights shared, read at other taps."""
        other = copy.copy(self)
        other.taps = self._check_taps(taps)
        return other

    # ------------------------------------------------------------------------------------------------ text and draws
    def encode_text(self, prompts: list[str]) -> dict[str, Tensor]:
        """What the denoiser needs of the prompts; each different prompt is encoded once and remembered.

        Returns:
            Arguments of the denoiser, first dimension `len(prompts)`; none if nothing takes prompts.

        Raises:
            UsageError: The text encoder was dropped and a prompt was never encoded before.
        """
        return {}

    @abstractmethod
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

    def with_reference(self, draw: Draw, video: Tensor) -> Draw:
        """The draw with its noise put on a given clip, the same for every photo, instead of on a still clip of the photo itself.

        Args:
            draw: From `draw`.
            video: Clips `(B, num_frames, 3, height, width)` in [0, 1], or photos `(B, 3, height, width)`, each for a still clip.

        Raises:
            UsageError: The clips are of another size, or this family encodes none yet.
        """
        return draw

    def encode_clip(self, video: Tensor) -> Tensor:
        """Clips `(B, num_frames, 3, height, width)` in [0, 1] → latents that noise is put on, see `with_reference`."""
        raise UsageError(f"{type(self).__name__} encodes no reference clips yet; leave out the reference")

    # ------------------------------------------------------------------------------------------------------ features
    @abstractmethod
    def condition(self, image: Tensor, image_noise: Tensor | None = None) -> dict[str, Tensor]:
        """Everything that is computed from photos `(B, 3, height, width)` in [0, 1] before the denoiser, differentiable.

        `image_noise` is a draw's; without it a pipeline that adds noise to the photo gets the photo itself.
        """

    def latent(self, condition: Tensors) -> Tensor:
        """The tap `latent`: what the autoencoder makes of the photo, `(B, channels, …)`."""
        if "latents" not in condition:
            raise UsageError(f"{type(self).__name__} has no tap {LATENT!r} yet; name layers of its autoencoder, {VAE_LAYERS}encoder.…")
        return condition["latents"]

    @abstractmethod
    def reconstruct(self, condition: Tensors) -> Tensor:
        """The tap `decoded`: the photo's latent frame, decoded alone, `(B, 3, height, width)` in [0, 1], differentiable."""

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
        """Features at the taps that need a denoiser; without any it does not run."""
        return {}

    def _check_inputs(self, image: Tensor, text: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
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
    @abstractmethod
    def check_animates(self) -> None:
        """Nothing where `animate` makes clips; a `UsageError` that says what to do where it does not."""

    @abstractmethod
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

        Raises:
            UsageError: This surrogate makes no clips.
        """

    def _float32(self) -> torch.autocast:
        return torch.autocast(self.device.type, enabled=False)
