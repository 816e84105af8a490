"""A surrogate that is an autoencoder alone: no denoiser, no text, no schedule.

Every image-to-video pipeline looks at a photo through an autoencoder first, and a few of them serve nearly all: a
generator trained against these needs a fraction of the memory. What it makes of a photo equals what the pipelines' own
surrogates make of it (`tests/surrogates/test_autoencoder.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.surrogates.autoencoders import classes
from anti_i2v.surrogates.autoencoders.loading import load_autoencoder
from anti_i2v.surrogates.autoencoders.source import find_autoencoder
from anti_i2v.surrogates.base import LoadOptions, Surrogate
from anti_i2v.surrogates.draw import DECODED, ERROR, LATENT, PHOTO, VAE_LAYERS, Draw, Tensors, denoiser_layers

if TYPE_CHECKING:
    from diffusers import ModelMixin

NOISE = 3
"""Numbers of noise in a draw for each photo: as many as an objective reads that draws something for itself."""


class AutoencoderSurrogate(Surrogate):
    """A frozen autoencoder of videos or of pictures. Build one with `Surrogate.from_pretrained`.

    A photo is encoded as a picture, or as a clip of one frame. It makes no clips, so its `features_only` is always true; a
    decoder that no tap needs is freed by `keep_features_only` alone.

    Args:
        vae: The loaded autoencoder; it is frozen in place.
        taps: `decoded` for the reconstructed photo, `latent` for its latents, in the units of a denoiser where the class
            states mean and deviation of the channels, `photo`, and `vae.` with the name of a layer that encodes.
        height: Height of the photos in pixels.
        width: Width of the photos in pixels.
        num_frames: Not read; frames of a clip beyond the photo play no part.

    Raises:
        UsageError: Taps that it does not have, or a size that is no multiple of what becomes one place of the latent.
    """

    def __init__(self, vae: ModelMixin, taps: Sequence[str], height: int, width: int, num_frames: int = 1) -> None:
        super().__init__(vae, height, width, num_frames)
        classes.freeze(vae)
        self.features_only = True
        rows, columns = self.cell
        if height < rows or width < columns or height % rows or width % columns:
            name = type(vae).__name__
            raise UsageError(f"height × width is {height} × {width}; this {name} needs multiples of {rows} × {columns}")
        self.taps = self._check_taps(taps)
        self.eval()

    @classmethod
    def load(cls, source: str, options: LoadOptions) -> AutoencoderSurrogate:
        found = find_autoencoder(source)
        if found is None:
            raise UsageError(f"{source} is no autoencoder; name its folder")
        return cls(load_autoencoder(found), options.taps, options.height, options.width, options.num_frames)

    @property
    def cell(self) -> tuple[int, int]:
        factor = classes.latent_factor(self.vae)
        return factor, factor

    def _check_taps(self, taps: Sequence[str]) -> tuple[str, ...]:
        others = [*denoiser_layers(taps), *([ERROR] if ERROR in taps else [])]
        if others or not taps:
            what = f"no tap {others[0]!r}: {type(self.vae).__name__} alone has no denoiser" if others else "no taps given"
            raise UsageError(f"{what}; name {DECODED}, {LATENT}, {PHOTO} or {VAE_LAYERS}encoder.…, or a whole pipeline as the surrogate")
        return super()._check_taps(taps)

    def draw(self, batch: int, generator: torch.Generator, min_sigma: float = 0.0, max_sigma: float = 1.0) -> Draw:
        """Noise `(B, 3)` for objectives that draw something for themselves; there are no noise levels, so the limits mean nothing."""
        noise = torch.randn(batch, NOISE, generator=generator, device=generator.device).to(self.device)
        return Draw(0, torch.zeros((), device=self.device), 0.0, noise)

    def condition(self, image: Tensor, image_noise: Tensor | None = None) -> dict[str, Tensor]:
        """`latents` `(B, channels, h, w)`, of videos `(B, channels, 1, h, w)`: the most likely ones, not scaled."""
        return {"latents": classes.encode_photos(self.vae, image)}

    def latent(self, condition: Tensors) -> Tensor:
        return classes.normalise(self.vae, condition["latents"])

    def reconstruct(self, condition: Tensors) -> Tensor:
        with self._float32():
            return classes.decode_photos(self.vae, condition["latents"])

    def check_animates(self) -> None:
        raise UsageError(f"{type(self.vae).__name__} alone makes no clips; name a whole pipeline as the surrogate")

    def animate(self, image: Tensor, text: Tensors, seed: int, steps: int | None = None) -> Tensor:
        """Always a `UsageError`, see `check_animates`."""
        self.check_animates()
        raise AssertionError("check_animates returned")
