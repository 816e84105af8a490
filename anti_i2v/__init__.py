"""Protect photos against being animated by image-to-video models: `Protector` is the way in, from Python."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anti_i2v.protector import Protector

__all__ = ["Protector", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Import the protector only when somebody uses it: `anti-i2v --help` stays fast."""
    if name == "Protector":
        from anti_i2v.protector import Protector

        return Protector
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
