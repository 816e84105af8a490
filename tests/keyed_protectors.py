"""A backend whose whole proposal is the photo's key, so that files show it. Processes find it by import."""

from __future__ import annotations

import numpy as np

from anti_i2v.bulk.loading import OnePass
from anti_i2v.bulk.protector import PhotoProtector
from anti_i2v.imaging.cielab import Floats
from anti_i2v.keys import load_secret


class KeyedBackend:
    """Proposes the key as a field of a* and b*; notes the keys that it was given."""

    working_size = 8

    def __init__(self) -> None:
        self.keys: list[Floats] = []

    def find(self, copy: Floats) -> Floats:
        """One face in the middle of each copy."""
        height, width = (-(-side // 4) for side in copy.shape[1:])
        found = np.zeros((4, height, width), np.float32)
        found[0] = -8
        found[0, height // 2, width // 2] = 4
        return found

    def propose(self, window: Floats, epsilon: np.float32, key: Floats) -> dict[str, Floats]:
        self.keys.append(key)
        return {"lab": epsilon * key.reshape(2, 4, 4)}


def keyed_protector(source: str | None = None) -> PhotoProtector:
    """One pass of it, with the secret of a source."""
    secret = load_secret(source)
    return PhotoProtector(OnePass(KeyedBackend(), secret).protect, "", "keyed", light=True, secret=secret)
