"""Frozen image-to-video pipelines seen through one contract: photo, prompt, draw → features. See `base.Surrogate`."""

from anti_i2v.surrogates.base import FAMILIES, Draw, Surrogate

__all__ = ["FAMILIES", "Draw", "Surrogate"]
