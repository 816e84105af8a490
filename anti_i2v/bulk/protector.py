"""What protects photos in this call: a generator's one pass or a per-photo attack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO

from PIL import Image

from anti_i2v import __version__
from anti_i2v.imaging.metadata.statements import Mark
from anti_i2v.keys import PUBLIC_KEY, source_digest

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
        secret: Of the digests by which marks name their sources; the public one where photos have no keys.
    """

    protect: Protect
    limits: str
    name: str
    weights: str = ""
    light: bool = False
    shared: bool = False
    epsilon: float = 8.0
    secret: bytes = field(default=PUBLIC_KEY, repr=False)

    def digest(self, source: BinaryIO) -> str:
        """What a mark says of the whole file of a clean photo."""
        return source_digest(self.secret, source)

    def mark(self, epsilon: float, source: str = "") -> Mark:
        """What protected files say about themselves; `source` is the `digest` of the clean photo's file."""
        return Mark(self.name, epsilon, self.weights, __version__, source)
