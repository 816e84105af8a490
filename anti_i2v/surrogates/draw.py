"""The inputs and taps of a surrogate: noise level and noise, and the taps beside the layers of its denoiser."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

Tensors: TypeAlias = Mapping[str, Tensor]
"""Tensors by name, such as encoded prompts or what the denoiser needs of a photo."""

DECODED = "decoded"
"""The tap for the photo reconstructed by the autoencoder, where a change of shape can be distinguished from a tint."""

PHOTO = "photo"
"""The tap for the photo as the pipeline is given it, for objectives on what must not change."""

LATENT = "latent"
"""What the autoencoder makes of the photo, `(B, channels, …)`."""

ERROR = "error"
"""The denoiser's prediction less the true value, whose mean square is the diffusion loss: like the latents, channels second."""

SPECIAL = (PHOTO, LATENT, DECODED, ERROR)
"""The taps that are no layers."""

VAE_LAYERS = "vae."
"""How the names of taps begin that are layers of the autoencoder, read while it encodes the photo, such as `vae.encoder.conv_in`."""


def denoiser_layers(taps: Iterable[str]) -> list[str]:
    """Those of the taps that are layers of the denoiser."""
    return [tap for tap in taps if tap not in SPECIAL and not tap.startswith(VAE_LAYERS)]


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
        frames: Latent frames that the denoiser's tokens cover, one after the other.
        reference: Latents of the clip that the noise is put on, see `Surrogate.with_reference`; None is a still clip of the photo itself.
        landmarks: (B, 5, 2) eyes, nose and corners of the mouth of one face of each photo, y and x in pixels of the picture that
            the surrogate is given, NaN where there is no face; for objectives that align faces. None where that is not known.
    """

    step: int
    timestep: Tensor
    sigma: float
    noise: Tensor
    image_noise: Tensor | None = None
    frames: int = 1
    reference: Tensor | None = None
    landmarks: Tensor | None = None
