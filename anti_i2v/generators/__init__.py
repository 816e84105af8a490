"""Networks from a photo to perturbation parameters, and the folders and the hub that they are kept in."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anti_i2v.generators.backbone import BackboneGenerator
    from anti_i2v.generators.base import Generator

__all__ = ["BackboneGenerator", "Generator"]


def __getattr__(name: str) -> object:
    """Import torch only when a network is asked for: the folders of generators are read without it."""
    if name == "BackboneGenerator":
        from anti_i2v.generators.backbone import BackboneGenerator

        return BackboneGenerator
    if name == "Generator":
        from anti_i2v.generators.base import Generator

        return Generator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
