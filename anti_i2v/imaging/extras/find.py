"""What a photo file holds beside its main picture, by name; nothing is decoded.

It shows the person as they were, or may. A protected file is written anew and holds none of it, and there is a note for each; what XMP says
about it goes with it (`metadata.claims`).

* JPEG: whatever follows its end (`behind`), and segments that nobody here reads.
* PNG, WebP, TIFF: whatever follows the last block, and further pictures in blocks of their own.
* HEIC and AVIF: `items`.
"""

from __future__ import annotations

import io
import struct
from typing import BinaryIO

from anti_i2v.imaging import containers
from anti_i2v.imaging.extras import items
from anti_i2v.imaging.extras.behind import names_behind, pictures
from anti_i2v.imaging.metadata import tiff
from anti_i2v.imaging.metadata.claims import DEPTH, EXTENDED, GAIN_MAP, semantics

PREVIEW = "the preview behind the picture"
LAYERS, LAYERS_TAG = "the layers", 37724
XMP_HEAD, EXTENSION_HEAD = b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"
ISO_GAIN_MAP = b"urn:iso:std:iso:ts:21496:-1\0"
# How a JPEG's segments begin that are taken over, written anew or reported elsewhere, by marker.
KNOWN_SEGMENTS = {
    0xE0: (b"JFIF\0", b"JFXX\0", b"AVI1"),
    0xE1: (b"Exif\0", XMP_HEAD, EXTENSION_HEAD),
    0xE2: (b"ICC_PROFILE\0", b"MPF\0", ISO_GAIN_MAP),
    0xEC: (b"Ducky",),  # the quality of an earlier encoding
    0xED: (b"Photoshop 3.0\0",),
    0xEE: (b"Adobe",),
}
BOXES = b"\xeb"  # segment of boxes: Content Credentials, HDR layers of JPEG XT
KNOWN_CHUNKS = {b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ICCP", b"EXIF", b"XMP ", b"C2PA", b"ANIM", b"ANMF"}
GAIN_MAP_CHUNKS = (b"gmAP", b"gdAT")  # of a PNG, as browsers read them
MP_ENTRIES = 0xB002
MP_TYPES = {0x010001 + size: PREVIEW for size in range(5)} | {0x020002: DEPTH, 0x050000: GAIN_MAP}


def find_extras(file: BinaryIO, kind: str) -> tuple[str, ...]:
    """The names of what a file holds beside the main picture, as far as it can be followed.

    Args:
        file: Open for reading; its position is not kept.
        kind: Its format, as `containers.kind` says it.
    """
    size = file.seek(0, io.SEEK_END)
    match kind:
        case "JPEG":
            found = _in_jpeg(file, size)
        case "PNG":
            found = _in_png(file, size)
        case "WEBP":
            found = _in_webp(file, size)
        case "TIFF":
            found = _in_tiff(file, size)
        case "AVIF" | "HEIF":
            found = items.names(file, kind)
        case _:
            found = []
    return tuple(dict.fromkeys(found))


def _in_jpeg(file: BinaryIO, size: int) -> list[str]:
    found: list[str] = []
    unknown: set[int] = set()
    listed: dict[int, str] = {}
    end, packet, has_gain_map, has_c2pa = size, b"", False, False
    for name, at, length in containers.jpeg_segments(file):
        if name == containers.END:
            end = at
        if not 0xE0 <= name[0] <= 0xEF:
            continue
        file.seek(at)
        content = file.read(min(length, 2**16))
        if content.startswith(XMP_HEAD):
            packet = content
        elif content.startswith(b"MPF\0"):
            listed = _multi_picture_types(content[4:], at + 4)
        elif content.startswith(EXTENSION_HEAD):
            found.append(EXTENDED)
        elif not content.startswith(KNOWN_SEGMENTS.get(name[0], ())):
            unknown.add(name[0] - 0xE0)
        has_gain_map |= content.startswith(ISO_GAIN_MAP)
        has_c2pa |= name == BOXES and b"c2pa" in content[:64]
    if has_c2pa:  # several segments of one manifest, whose loss is reported as such
        unknown.discard(BOXES[0] - 0xE0)
    order = semantics(packet) or [GAIN_MAP] * (has_gain_map or b"hdr-gain-map/" in packet)
    found += names_behind(file, end, size, order, listed)
    return found + [f"unknown data (segment APP{number})" for number in sorted(unknown)]


def _multi_picture_types(content: bytes, at: int) -> dict[int, str]:
    """Where pictures start by the Multi-Picture Format (CIPA DC-007), and what those are that it has a name for."""
    try:
        source = tiff.Reader(io.BytesIO(content))
        entries = source.value(MP_ENTRIES) or b""
    except (tiff.DamagedError, struct.error):
        return {}
    rows = struct.iter_unpack(source.order + "IIII", entries[: len(entries) // 16 * 16])
    return {at + offset: MP_TYPES[kind & 0xFFFFFF] for kind, _, offset, _ in rows if offset and kind & 0xFFFFFF in MP_TYPES}


def _in_png(file: BinaryIO, size: int) -> list[str]:
    found, end = [], size
    for name, at, length in containers.blocks(file, "PNG"):
        if name in GAIN_MAP_CHUNKS:
            found.append(GAIN_MAP)
        if name == b"IEND":
            end = at + length + 4
    return found + names_behind(file, end, size)


def _in_webp(file: BinaryIO, size: int) -> list[str]:
    file.seek(4)
    (length,) = struct.unpack("<I", file.read(4).ljust(4, b"\0"))
    end = 8 + length + length % 2
    blocks = containers.blocks(file, "WEBP")
    found = ["unknown data (chunk of a WebP)" for name, at, _ in blocks if at < end and name not in KNOWN_CHUNKS]
    return found + names_behind(file, end, size)


def _in_tiff(file: BinaryIO, size: int) -> list[str]:
    found = []
    try:
        source = tiff.Reader(file)
        first = source.directory(source.first)
        found += pictures(len(source.numbers(first.find(tiff.SUB_DIRECTORIES))))
        if first.find(LAYERS_TAG):
            found.append(LAYERS)
        end = tiff.content_end(source)
    except (tiff.DamagedError, struct.error):
        return found
    return found + names_behind(file, end, size)
