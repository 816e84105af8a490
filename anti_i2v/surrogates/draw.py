"""What a surrogate is asked: at which noise level and noise, and which layers beside those of its denoiser."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

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
        frames: Latent frames that the denoiser's tokens cover, one after the other.
    """

    step: int
    timestep: Tensor
    sigma: float
    noise: Tensor
    image_noise: Tensor | None = None
    frames: int = 1
