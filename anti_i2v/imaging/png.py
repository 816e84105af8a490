"""What Pillow does not do for PNG files: parts that a viewer does without are read around, and parts that it does not know are kept."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from anti_i2v.imaging.containers import blocks

HEADER = 8 + 25  # bytes of the signature and the first chunk, which says size and kind of pixels
# Chunks that are copied as they are, and how long they may be: the date of the last change, where the picture lies on a page, how large
# what it shows is, a stereo pair.
KEPT = {b"tIME": 7, b"oFFs": 9, b"sCAL": 64, b"pCAL": 1024, b"sTER": 1}
OF_PIXELS = {b"sBIT": 4, b"bKGD": 6}  # the same for one kind of pixels only: how many bits count, the background
ASPECT = 0  # the unit of a pHYs chunk that gives the shape of pixels, and not their number to a metre


def without_damaged_chunks(file: BinaryIO) -> tuple[BinaryIO, list[str]]:
    """A PNG without what its pixels do not need and its check sum proves damaged, as viewers show it; the file itself if there is none.

    A second colour profile goes too: it takes time to unpack, and none may be there.

    Returns:
        The file, and the names of the chunks that are left out.
    """
    damaged: list[tuple[int, int]] = []
    names: dict[str, None] = {}
    profiles = 0
    for name, at, size in blocks(file, "PNG"):
        if not name.isalpha():  # a wrong length led here
            break
        profiles += name == b"iCCP"
        if not name[0] & 0x20:  # without which there are no pixels: Pillow has its own rules
            continue
        file.seek(at - 4)
        data = file.read(4 + size + 4)
        if len(data) == size + 8 and (zlib.crc32(data[:-4]) != int.from_bytes(data[-4:], "big") or (name == b"iCCP" and profiles > 1)):
            damaged.append((at - 8, at + size + 4))
            names[name.decode()] = None
    if not damaged:
        return file, []
    file.seek(0)
    data, at, parts = file.read(), 0, []
    for start, end in damaged:
        parts.append(data[at:start])
        at = end
    return io.BytesIO(b"".join([*parts, data[at:]])), list(names)


def kept_chunks(file: BinaryIO) -> tuple[bytes, bytes, bytes]:
    """Chunks to put into a protected PNG: those for any kind of pixels, those for pixels of the same kind as here, and that kind."""
    kept, of_pixels = [], []
    file.seek(0)
    pixels = _pixel_kind(file.read(HEADER))
    for name, at, size in blocks(file, "PNG"):
        if size <= KEPT.get(name, -1):
            kept.append(_chunk(file, at, size))
        elif size <= OF_PIXELS.get(name, -1):
            of_pixels.append(_chunk(file, at, size))
        elif name == b"pHYs" and size == 9 and (chunk := _chunk(file, at, size))[-5] == ASPECT:
            kept.append(chunk)
    return b"".join(_first_of_each(kept)), b"".join(_first_of_each(of_pixels)), pixels


def _chunk(file: BinaryIO, at: int, size: int) -> bytes:
    file.seek(at - 8)
    return file.read(size + 12)


def _first_of_each(chunks: list[bytes]) -> Iterator[bytes]:
    """None of them may be there twice, nor beyond the end of the file."""
    seen = set()
    for chunk in chunks:
        if len(chunk) == 12 + struct.unpack(">I", chunk[:4])[0] and chunk[4:8] not in seen:
            seen.add(chunk[4:8])
            yield chunk


def with_chunks(data: bytes, chunks: tuple[bytes, bytes, bytes]) -> bytes:
    """A PNG with chunks, as `kept_chunks` gave them, behind its header."""
    kept, of_pixels, pixels = chunks
    return data[:HEADER] + kept + (of_pixels if _pixel_kind(data) == pixels else b"") + data[HEADER:]


def _pixel_kind(data: bytes) -> bytes:
    """Bits and kind of the pixels of a PNG, by its first `HEADER` bytes."""
    return data[24:26]
