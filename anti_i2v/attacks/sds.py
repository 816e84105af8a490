"""Score distillation as an attack (Xue et al. 2024, arXiv 2311.12832, ICLR)."""

from __future__ import annotations

from typing import Literal

from anti_i2v.attacks.base import Method, published_settings
from anti_i2v.objectives import SdsObjective
from anti_i2v.surrogates import Surrogate
from anti_i2v.surrogates.draw import ERROR, LATENT


def _sds(surrogate: Surrogate, sign: Literal[1, -1]) -> Method:
    """Published: 16/255, 100 signed steps of 1/16 of it, draws of the whole schedule. Here the error is of a clip, see the objective."""
    return Method(SdsObjective(sign).to(surrogate.device), (LATENT, ERROR), 100, published_settings(1 / 16))


def sds_up(surrogate: Surrogate) -> Method:
    """SDS(+): the diffusion loss goes up along the denoiser's error, without a backward pass through the denoiser."""
    return _sds(surrogate, 1)


def sds_down(surrogate: Surrogate) -> Method:
    """SDS(−): the diffusion loss goes down likewise, which blurs; the paper finds it the stronger and less visible of the two."""
    return _sds(surrogate, -1)
