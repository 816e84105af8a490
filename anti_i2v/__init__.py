"""Protect photos against being animated by image-to-video models: `Protector` is the way in, from Python."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anti_i2v.protector import Protector

try:
    __version__ = version("anti-i2v")
except PackageNotFoundError:  # run from a checkout that was not installed
    __version__ = "0+unknown"

__all__ = ["Protector", "__version__"]


def __getattr__(name: str) -> object:
    """Import the protector only when somebody uses it: `anti-i2v --help` stays fast."""
    if name == "Protector":
        from anti_i2v.protector import Protector

        return Protector
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
