"""Surrogates: frozen image-to-video pipelines behind one contract, photo, prompt, draw → features. See `base.Surrogate`."""

from anti_i2v.surrogates.base import Surrogate
from anti_i2v.surrogates.draw import Draw
from anti_i2v.surrogates.registry import FAMILIES

__all__ = ["FAMILIES", "Draw", "Surrogate"]
