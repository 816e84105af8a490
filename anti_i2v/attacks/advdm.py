"""AdvDM (Liang et al. 2023, arXiv 2302.04578)."""

from __future__ import annotations

from anti_i2v.attacks.base import Method, published_settings
from anti_i2v.objectives import DiffusionObjective
from anti_i2v.surrogates import Surrogate
from anti_i2v.surrogates.draw import ERROR


def advdm(surrogate: Surrogate) -> Method:
    """The expected diffusion loss goes up, over draws of the whole schedule.

    Published (eq. 8): max E ‖ε − ε_θ(z_t, t)‖², 100 signed steps of 1/16 of the budget. Here the photo reaches a video model by its
    condition; the noise is put on a still clip of the clean photo, so no gradient goes through what is noised.
    """
    return Method(DiffusionObjective(1).to(surrogate.device), (ERROR,), 100, published_settings(1 / 16))
