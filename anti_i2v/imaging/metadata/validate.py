"""`Image.info`, validated: a PNG may name a text `dpi` and put anything there, and EXIF may be damaged."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from typing import Any

from PIL import Image

from anti_i2v.imaging.metadata import iptc, tiff
from anti_i2v.imaging.metadata.collect import EXIF_HEAD, RAW_PROFILE, RAW_PROFILES

ORIENTATION = tiff.ORIENTATION
HEADS = re.compile(rb"\A(?:Exif\0\0)+")  # some writers put it there twice, a hostile file a million times
# Entries that only we set.
RESERVED = ("c2pa", "cicp", "extras", "hints", "lossless", "png_chunks", "reduced_from_bits", "text_chunks", "unreadable")


def validate_info(image: Image.Image, kind: str, facts: Mapping[str | tuple[int, int], Any]) -> None:
    """Check every entry of `info` that is read later and drop what is invalid; add facts that Pillow did not report."""
    info = image.info
    for key in RESERVED:
        info.pop(key, None)
    info |= facts
    if kind == "HEIF" and isinstance(bits := info.get("bit_depth"), int) and bits > 8 and not image.mode.startswith("I;16"):
        info["reduced_from_bits"] = bits
    for key, fits in CHECKS.items():
        if key in info and not fits(info[key]):
            del info[key]
    if kind != "PNG" and "icc_profile" in info:
        info.pop("cicp", None)  # AVIF and HEIC: the profile is meant, the code points are for what knows no profiles
    if kind == "PNG":
        _unpack_raw_profiles(info)
    exif = HEADS.sub(b"", info.pop("exif", b""))
    try:
        image.getexif().load(exif)
        image.getexif().get(ORIENTATION)
    except Exception:  # as many kinds as there are ways to damage it
        image.getexif().load(b"")
        info["unreadable"], exif = f"EXIF and {more}" if (more := info.get("unreadable")) else "EXIF", b""
    if exif:
        info["exif"] = EXIF_HEAD + exif


def _is_resolution(value: object) -> bool:
    """Two numbers that every format can hold."""
    if not (isinstance(value, tuple) and len(value) == 2):
        return False
    return all(isinstance(x, (int, float)) or hasattr(x, "numerator") for x in value) and all(0 < float(x) < 65535 for x in value)


def _is_transparency(value: object) -> bool:
    whole = isinstance(value, tuple) and len(value) == 3 and all(isinstance(x, int) for x in value)
    return whole or isinstance(value, (bytes, int))


def _is_bytes(value: object) -> bool:
    return isinstance(value, bytes)


CHECKS = {"dpi": _is_resolution, "transparency": _is_transparency}
CHECKS |= dict.fromkeys(("icc_profile", "xmp", "exif", "comment"), _is_bytes)
CHECKS["photoshop"] = lambda value: isinstance(value, dict)


def _unpack_raw_profiles(info: dict[str | tuple[int, int], Any]) -> None:
    """EXIF, XMP and IPTC that ImageMagick put into texts before PNG had places for them; any other stays a text."""
    for key in [key for key in info if isinstance(key, str) and key.lower().startswith(RAW_PROFILE)]:
        name, data = key.lower().removeprefix(RAW_PROFILE), b""
        with contextlib.suppress(ValueError):
            data = iptc.from_profile(str(info[key])).removeprefix(iptc.HEAD)
        if data.startswith(EXIF_HEAD):
            info.setdefault("exif", data)
        elif data.startswith(b"8BIM"):
            resources = info.setdefault("photoshop", {})
            for number, value in iptc.read_resources(data).items():
                resources.setdefault(number, value)
        elif name in ("app1", "xmp") and data:
            info.setdefault("xmp", data.removeprefix(b"http://ns.adobe.com/xap/1.0/\0"))
        elif name not in RAW_PROFILES:
            continue
        del info[key]
