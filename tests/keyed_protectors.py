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
    takes_key = True

    def __init__(self) -> None:
        self.keys: list[Floats] = []

    def propose(self, photo: Floats, epsilon: np.float32, key: Floats | None = None) -> dict[str, Floats]:
        assert key is not None
        self.keys.append(key)
        return {"lab": epsilon * key.reshape(2, 4, 4)}


def keyed_protector(source: str | None = None) -> PhotoProtector:
    """One pass of it, with the secret of a source."""
    return PhotoProtector(OnePass(KeyedBackend(), load_secret(source)).protect, "", "keyed", light=True)
