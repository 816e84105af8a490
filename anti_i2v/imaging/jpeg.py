"""Segments of JPEG files that Pillow knows in part: EXIF in several, comments, a density that is not in dots per inch."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

from anti_i2v.imaging.containers import blocks
from anti_i2v.imaging.metadata.collect import EXIF_HEAD

SEGMENT = 65533  # bytes of a segment, less its length
EXIF, COMMENT = b"\xe1", b"\xfe"


def facts(file: BinaryIO) -> dict[str | tuple[int, int], Any]:
    """EXIF that goes on in more segments, and all comments: Pillow takes a second EXIF for a part of the first, and the last comment."""
    found: dict[str | tuple[int, int], Any] = {}
    parts: list[bytes] = []
    comments: list[bytes] = []
    for marker, at, size in blocks(file, "JPEG"):
        if marker not in (EXIF, COMMENT):
            continue
        file.seek(at)
        data = file.read(size)
        if marker == COMMENT:
            comments.append(data)
        elif data.startswith(EXIF_HEAD):
            part = data.removeprefix(EXIF_HEAD)
            if parts and part.startswith((b"II*\0", b"MM\0*")):
                found["unreadable"] = "second EXIF"
            elif part:
                parts.append(part)
    if parts:
        found["exif"] = EXIF_HEAD + b"".join(parts)
    if len(comments) > 1:
        found["comment"] = b"\n".join(comments)
    return found


def segment(marker: int, content: bytes) -> bytes:
    """A segment of at most `SEGMENT` bytes."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def continued_exif(exif: bytes) -> bytes:
    """The segments after the first of EXIF that is longer than one, as its photo had them; nothing if it is not."""
    step = SEGMENT - len(EXIF_HEAD)
    return b"".join(segment(EXIF[0], EXIF_HEAD + exif[at : at + step]) for at in range(SEGMENT, len(exif), step))


def with_density(data: memoryview, info: Mapping[str | tuple[int, int], Any]) -> memoryview:
    """A file with the density of its photo's first segment, also if that is to the centimetre, or of pixels that are no squares.

    Args:
        data: The file, which is changed.
        info: Of its photo.
    """
    unit, density = info.get("jfif_unit"), info.get("jfif_density")
    if bytes(data[6:11]) == b"JFIF\0" and unit in (0, 1, 2) and isinstance(density, tuple) and all(density):
        struct.pack_into(">BHH", data, 13, unit, *density)
    return data
