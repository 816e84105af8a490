"""What a file is by its first bytes, and the blocks that it consists of; nothing is decoded, and only their heads are read."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from itertools import islice, takewhile
from pathlib import Path
from typing import BinaryIO

from anti_i2v.imaging.metadata import tiff

BLOCKS = 2**16  # a file of more is no photo
Block = tuple[bytes, int, int]
"""Name (a JPEG's: its marker), where the content starts, its size."""
PIXELS, END = b"\xda", b"\xd9"  # markers of a JPEG
MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # and what is none: filling, and in pixels an escaped byte or a restart

C2PA_TAG = 52545
C2PA_BOX = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")


def kind(head: bytes) -> str | None:
    """The format of a file that begins with `head` (32 bytes or more), by Pillow's name; None: not one that is read."""
    if head[4:8] == b"ftyp":
        brands = head[8:12] + head[16 : struct.unpack(">I", head[:4])[0]]
        return "AVIF" if re.match(rb"(....)*avi[fs]", brands, re.DOTALL) else "HEIF" if re.match(rb"he|mif1|msf1", brands) else None
    if head[:4] == b"RIFF":
        return "WEBP" if head[8:12] == b"WEBP" else None
    beginnings = {
        "JPEG": rb"\xff\xd8\xff",
        "PNG": rb"\x89PNG\r\n\x1a\n",
        "TIFF": rb"II[*+]\0|MM\0[*+]",
        "BMP": rb"BM",
        "GIF": rb"GIF8[79]a",
        "JPEG2000": rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  \r\n\x87\n",
        "PPM": rb"P[1-6][\s#]",
    }
    return next((name for name, beginning in beginnings.items() if re.match(beginning, head)), None)


def blocks(file: BinaryIO, kind: str) -> Iterator[Block]:
    """The blocks of a JPEG (up to its pixels), PNG, WebP, AVIF or HEIC file, as far as they can be followed."""
    walk = {"JPEG": _head, "PNG": _chunks, "WEBP": _riff, "AVIF": _boxes, "HEIF": _boxes}.get(kind)
    yield from _followed(walk(file)) if walk else ()


def jpeg_segments(file: BinaryIO, at: int = 0, most: int = BLOCKS) -> Iterator[Block]:
    """The segments of a JPEG that begins there, whole or as far as they can be followed; the last, `END`, lies where it ends."""
    yield from _followed(_segments(file, at), most)


def boxes_from(file: BinaryIO, at: int, most: int = BLOCKS) -> Iterator[Block]:
    """The boxes of an ISO file (AVIF, HEIC, a film), or in one of its boxes, from a place on, as far as they can be followed."""
    yield from _followed(_boxes(file, at), most)


def _followed(walk: Iterator[Block], most: int = BLOCKS) -> Iterator[Block]:
    try:
        for name, at, size in islice(walk, most):
            yield name, at, max(0, size)  # damage may make it less than the head that it counts, and less than nothing reads all
    except (struct.error, ValueError, OverflowError, OSError):
        return  # it ends in the middle


def _head(file: BinaryIO) -> Iterator[Block]:
    return takewhile(lambda block: block[0] not in (PIXELS, END), _segments(file, 0))


def _segments(file: BinaryIO, at: int) -> Iterator[Block]:
    at += 2
    pixels = False
    while True:
        file.seek(at)
        start, marker, size = struct.unpack(">BBH", file.read(4).ljust(4, b"\0"))
        if start != 0xFF or marker == 0 or (marker == 0xD8 and pixels):  # no marker; the start of another picture
            if pixels:  # its own end was left out
                yield END, at, 0
            return
        if marker == 0xFF:
            at = _next_marker(file, at)
            continue
        if marker in (0x01, *range(0xD0, 0xDA)):  # without content
            at += 2
            yield bytes([marker]), at, 0
        else:
            yield bytes([marker]), at + 4, size - 2
            at += 2 + max(2, size)
        if marker == END[0]:
            return
        if marker == PIXELS[0]:
            at, pixels = _next_marker(file, at), True


def _next_marker(file: BinaryIO, at: int) -> int:
    """Where the next marker is, or the end of the file."""
    size = 2**12  # so that a file of nothing but markers is not read a thousand times
    while True:
        file.seek(at)
        data = file.read(size)
        if match := MARKER.search(data):
            return at + match.start()
        if len(data) < 2:
            return at + len(data)
        at, size = at + len(data) - 1, min(2 * size, 2**20)


def _chunks(file: BinaryIO) -> Iterator[Block]:
    at, name = 8, b""
    while name != b"IEND":
        file.seek(at)
        size, name = struct.unpack(">I4s", file.read(8))
        yield name, at + 8, size
        at += 12 + size


def _riff(file: BinaryIO) -> Iterator[Block]:
    at = 12
    while True:
        file.seek(at)
        name, size = struct.unpack("<4sI", file.read(8))
        yield name, at + 8, size
        at += 8 + size + size % 2


def _boxes(file: BinaryIO, at: int = 0) -> Iterator[Block]:
    size = 8
    while size >= 8:
        file.seek(at)
        size, name = struct.unpack(">I4s", file.read(8))
        head = 8
        if size == 1:
            (size,), head = struct.unpack(">Q", file.read(8)), 16
        elif size == 0:  # to the end of the file
            size = file.seek(0, io.SEEK_END) - at
        yield name, at + head, size - head
        at += size


def has_c2pa(source: str | Path | bytes | BinaryIO) -> bool:
    """Whether a file carries Content Credentials: a C2PA manifest, which signs its pixels and is void once they change.

    Where a manifest lies is C2PA's specification 2.1, "Embedding manifests into various file formats". Garbage has none.

    Args:
        source: A path, the content, or a file open for reading, whose position is not kept.

    Raises:
        OSError: The path cannot be opened.
    """
    if isinstance(source, (str, Path)):
        with Path(source).open("rb") as opened:
            return has_c2pa(opened)
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    file.seek(0)
    format = kind(file.read(64))
    if format == "TIFF":
        try:
            parsed = tiff.Reader(file)
            return parsed.directory(parsed.first).find(C2PA_TAG) is not None
        except (tiff.DamagedError, struct.error):
            return False
    return any(_is_manifest(file, block) for block in blocks(file, format or ""))


def _is_manifest(file: BinaryIO, block: Block) -> bool:
    name, at, size = block
    if name in (b"caBX", b"C2PA"):
        return True
    if name not in (b"\xeb", b"uuid"):  # APP11: boxes in JPEG, which may hold other things as well
        return False
    file.seek(at)
    begin = file.read(min(size, 64))
    return begin.startswith(C2PA_BOX) if name == b"uuid" else begin.startswith(b"JP") and b"jumb" in begin and b"c2pa" in begin
