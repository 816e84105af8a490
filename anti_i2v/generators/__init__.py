"""Generators: the networks that learn. `__all__` is the list of class names that a generator folder may ask for."""

from anti_i2v.generators.backbone import BackboneGenerator
from anti_i2v.generators.base import Generator

__all__ = ["BackboneGenerator", "Generator"]
