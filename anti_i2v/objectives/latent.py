"""Attack the autoencoder alone: the photo's latent becomes another picture's."""

from __future__ import annotations

from anti_i2v.objectives.anchor import AnchorObjective
from anti_i2v.surrogates.draw import LATENT


class LatentObjective(AnchorObjective):
    """The encoder attack of PhotoGuard (arXiv 2302.06588): ‖E(protected) - E(target)‖², over Var(E(target)).

    It is also the textural loss of Mist (arXiv 2305.12683), whose target image is a pattern of high contrast. It needs the tap
    `latent` and no denoiser.

    Args:
        target: The target image, see `targets.target_image`.
        away: Instead leave the photo's own latent: minus ‖E(protected) - E(photo)‖² / Var(E(photo)).

    Raises:
        UsageError: There is no such target image.
    """

    def __init__(self, target: str = "checker", away: bool = False) -> None:
        super().__init__(target, away, {LATENT: 1.0}, balance=False)
