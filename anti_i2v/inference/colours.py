"""What colours a viewer shows of a photo: by its code points, its ICC profile, or PNG's gamma and primaries, in this order."""

from __future__ import annotations

from collections.abc import Mapping

from PIL import Image

from anti_i2v.inference import code_points, profiles

Info = Mapping[str | tuple[int, int], object]


def to_srgb(image: Image.Image, info: Info) -> Image.Image:
    """What a viewer shows of a picture, in sRGB; see `profiles.to_srgb` and `code_points`.

    PNG's third edition says the order. What describes no colours of this kind is passed over, and without any description it is sRGB.

    Args:
        image: Of mode RGB, L or CMYK.
        info: Of its photo, as `read_photo` validated it.

    Returns:
        RGB, `image` itself where nothing had to be changed.
    """
    points, profile = info.get("cicp"), info.get("icc_profile")
    if image.mode != "CMYK":
        if isinstance(points, bytes) and code_points.is_known(points):
            shown = code_points.by_points(image, points)
        elif profile is None and "srgb" not in info:
            shown = code_points.by_gamma(image, info.get("gamma"), info.get("chromaticity"))
        else:
            return profiles.to_srgb(image, profile)
        return shown if shown.mode == "RGB" else shown.convert("RGB")
    return profiles.to_srgb(image, profile)


def unknown_points(info: Info) -> str:
    """The code points that are reserved or unknown, in words; nothing where they are known. Such a photo is seen as if it had none."""
    points = info.get("cicp")
    return ", ".join(map(str, points)) if isinstance(points, bytes) and not code_points.is_known(points) else ""
