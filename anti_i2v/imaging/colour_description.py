"""How files describe their colours without an ICC profile: four code points of ITU-T H.273 and, in PNG, hints beside them.

The code points are those of primaries, curve and matrix, and whether 0–255 is the whole range. PNG has them in a chunk cICP, whose matrix
is always 0 (RGB); AVIF and HEIC in a box `colr` of the kind `nclx`, whose matrix is the codec's own business: it leads to RGB and back.
What the curves and primaries mean is in `inference.code_points`.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import BinaryIO

from PIL import Image

from anti_i2v.imaging import containers

NCLX = b"colrnclx"
BOX = 2**16  # bytes of a box `meta` that are searched
HINTS = {b"cLLI": 8, b"mDCV": 24}  # how bright the picture and the display of its author are; chunk of PNG → bytes
LIGHT = (b"\0\0\0\x0cclli", b"\0\0\0\x20mdcv")  # how boxes of AVIF and HEIC begin that say the same
AS_SRGB = (b"\x01\x0d", b"\x01\x02", b"\x02\x0d", b"\x02\x02")  # primaries and curve that say no more than a file without them
IHDR_END = 33  # of the signature and the first chunk of a PNG


def read(file: BinaryIO, kind: str) -> dict[str | tuple[int, int], object]:
    """What a file says, as entries of `info`.

    Returns:
        `cicp`: four code points as bytes; `hints`: by chunk of a PNG, True where a box has them, which no encoder here writes;
        `unreadable`: what is damaged.
    """
    if kind == "PNG":
        return _chunks(file)
    for name, at, size in containers.blocks(file, kind) if kind in ("AVIF", "HEIF") else ():
        if name == b"meta":
            file.seek(at)
            return _boxes(file.read(min(size, BOX)))
    return {}


def _boxes(meta: bytes) -> dict[str | tuple[int, int], object]:
    facts: dict[str | tuple[int, int], object] = {"hints": True} if any(head in meta for head in LIGHT) else {}
    _, box, content = meta.partition(NCLX)
    if not box or len(content) < 7 or bytes((content[1], content[3])) in AS_SRGB:
        return facts
    if content[0] or content[2]:
        return facts | {"unreadable": "description of its colours"}
    return facts | {"cicp": bytes((content[1], content[3], 0, 1))}


def _chunks(file: BinaryIO) -> dict[str | tuple[int, int], object]:
    found: dict[bytes, bytes] = {}
    for name, at, size in containers.blocks(file, "PNG"):
        if name == b"IDAT":
            break
        if name == b"cICP" or name in HINTS:
            file.seek(at)
            found.setdefault(name, file.read(min(size, 25)))
    points, hints = found.pop(b"cICP", None), {name: data for name, data in found.items() if len(data) == HINTS[name]}
    facts: dict[str | tuple[int, int], object] = {"hints": hints} if hints else {}
    if points is not None:
        facts |= {"cicp": points} if len(points) == 4 else {"unreadable": "description of its colours"}
    return facts


def tells_more_than_srgb(points: bytes | None) -> bool:
    """Whether a viewer that knows nothing of these code points shows other colours."""
    return points is not None and points[:2] not in AS_SRGB


def tells_gamma(photo: Image.Image) -> bool:
    """Whether gamma and primaries are what describes the colours of a PNG, and viewers heed them."""
    info = photo.info
    tells = isinstance(info.get("gamma"), float) or isinstance(info.get("chromaticity"), tuple)  # and not a text of that name
    return photo.format == "PNG" and tells and not {"srgb", "cicp", "icc_profile"} & info.keys()


def with_code_points(written: bytes, points: bytes) -> bytes:
    """An AVIF or HEIC file with other primaries and another curve; its matrix and range stay, which its encoder has used."""
    before, box, content = written.partition(NCLX)
    return before + box + struct.pack(">HH", points[0], points[1]) + content[4:] if box else written


def with_hints(written: bytes, hints: Mapping[bytes, bytes]) -> bytes:
    """A PNG with chunks that Pillow does not write, behind its header."""
    chunks = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in hints.items()
    )
    return written[:IHDR_END] + chunks + written[IHDR_END:]
