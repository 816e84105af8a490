"""PhotoGuard's encoder attack (Salman et al. 2023, arXiv 2302.06588, §3.1)."""

from __future__ import annotations

from anti_i2v.attacks.base import Method, published_settings
from anti_i2v.objectives import LatentObjective
from anti_i2v.surrogates import Surrogate
from anti_i2v.surrogates.draw import LATENT


def photoguard(surrogate: Surrogate) -> Method:
    """The photo's latent becomes that of a grey picture; the denoiser is not used.

    Published: min ‖E(x + δ) − E(grey)‖², 16/255, signed steps of an eighth of it, 200 steps in benchmarks of this field and 1,000
    with DiffVax. Here: no other difference than the surrogate's autoencoder, which is one of videos.
    """
    return Method(LatentObjective("grey").to(surrogate.device), (LATENT,), 200, published_settings(1 / 8))
