"""ICC profiles: which sRGB colours a viewer shows for the values of a photo, since sRGB is what networks have learned to see."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

# What a profile is for (bytes 16–20 of its header) → Pillow's mode of such values.
MODES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}
# Steps of 255. The sRGB profiles that cameras and editors write round their curves differently, by 1 or 2; a plain gamma of 2.2 in
# place of sRGB's curve moves dark values by 8, Display P3 colours by 90.
ALIKE = 2


def to_srgb(image: Image.Image, profile: object) -> Image.Image:
    """What a viewer that heeds the profile shows, colours that sRGB has not being clipped to its surface.

    A profile that is in effect sRGB's changes nothing, so that the same pixels look the same with and without one. Without a
    profile, or with one that is damaged or for other kinds of values, it is Pillow's own conversion.

    Args:
        image: Of mode RGB, L or CMYK.
        profile: `info["icc_profile"]` of its photo, whatever is found there.

    Returns:
        RGB, `image` itself where nothing had to be changed.
    """
    mode = MODES.get(profile[16:20]) if isinstance(profile, bytes) else None
    if mode == "RGB" and image.mode == "L":
        image = image.convert("RGB")  # a grey photo may have a profile of colours
    if isinstance(profile, bytes) and mode == image.mode and (transform := _transform(profile, mode)):
        return transform.apply(image)
    return image if image.mode == "RGB" else image.convert("RGB")


@lru_cache(maxsize=4)  # building one takes as long as applying it, and the photos of one folder share few profiles
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The way from a profile to sRGB; None where there is none, or none is needed."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (OSError, ValueError, TypeError, ImageCms.PyCMSError, ImportError):  # ImportError: a Pillow without LittleCMS
        return None
    if mode == "CMYK":
        return transform
    sample = _colours() if mode == "RGB" else Image.linear_gradient("L")
    before, after = (np.asarray(picture).astype(np.int16) for picture in (sample.convert("RGB"), transform.apply(sample)))
    return None if np.abs(after - before).max() <= ALIKE else transform


def _colours() -> Image.Image:
    """17 levels of each channel in all combinations."""
    levels = np.indices((17, 17, 17)).reshape(3, -1).T.reshape(17, -1, 3) * 255 // 16
    return Image.fromarray(levels.astype(np.uint8))
