"""What protects photos in this call: a generator's one pass or a per-photo attack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from anti_i2v import __version__
from anti_i2v.imaging.metadata.statements import Mark

Protect = Callable[[Image.Image, float], Image.Image]
"""What makes a protected photo of a photo and an epsilon, such as `Protector.protect`."""


@dataclass(frozen=True)
class PhotoProtector:
    """What protects photos.

    Attributes:
        protect: What makes a protected photo of a photo.
        limits: A line for people.
        name: Of the generator or method.
        weights: Hash of the generator's weights; empty for a method without any.
        light: Whether it starts fast and takes little memory, so that several processes of it pay.
        shared: Whether several threads may call `protect` at once, and should: it is on a GPU.
        epsilon: Budget where the user gives none, in 1/255 steps.
    """

    protect: Protect
    limits: str
    name: str
    weights: str = ""
    light: bool = False
    shared: bool = False
    epsilon: float = 8.0

    def mark(self, epsilon: float) -> Mark:
        """What protected files say about themselves."""
        return Mark(self.name, epsilon, self.weights, __version__)
