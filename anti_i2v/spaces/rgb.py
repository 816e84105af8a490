"""The plain space: a field of red, green and blue. What published attacks on video models perturb."""

from __future__ import annotations

from anti_i2v.spaces.base import Space


class RgbSpace(Space):
    """RGB residual from a (B, 3, h, w) field: ε/255 times the field, interpolated (bicubic) to the photo's size."""

    channels = 3
