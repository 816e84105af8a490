"""Mist (Liang and Wu 2023, arXiv 2305.12683)."""

from __future__ import annotations

from anti_i2v.attacks.base import Method, published_settings
from anti_i2v.objectives import DiffusionObjective, LatentObjective, WeightedObjective
from anti_i2v.surrogates import Surrogate
from anti_i2v.surrogates.draw import ERROR, LATENT


def mist(surrogate: Surrogate) -> Method:
    """The diffusion loss goes up, as in AdvDM, and the latent toward that of a pattern of high contrast.

    Published: 10⁴ times the diffusion loss, a mean, less the squared distance of latents, a sum over 16,384 values at 512 × 512, which
    is 1 : 1.6 of means; 100 signed steps of 1/16 of the budget. Here the two weigh the same, the distance in units of the target's
    variance; the target is a checkerboard, since the published one is a picture of the authors.
    """
    objective = WeightedObjective({"semantic": DiffusionObjective(1), "texture": LatentObjective("checker")})
    return Method(objective.to(surrogate.device), (LATENT, ERROR), 100, published_settings(1 / 16))
