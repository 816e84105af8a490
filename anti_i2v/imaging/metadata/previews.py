"""Thumbnails and previews inside EXIF become zeros: they show the unprotected photo. All other bytes stay in their place."""

from __future__ import annotations

import contextlib
import io
import re
import struct
from bisect import bisect_right
from collections.abc import Iterable, Iterator

from anti_i2v.imaging.metadata import tiff

MAKER_NOTE = 37500
# A preview is a JPEG file, of which two makers (Minolta, Sony) change the first byte.
MARK = re.compile(rb"\xff\xd8\xff|[^\xff]\xd8\xff\xdb|\xff\xd9")
FIRST_MARKERS = frozenset({0xC0, 0xC4, 0xDB, 0xDD, *range(0xE0, 0xF0), 0xFE})


def without_pictures(exif: bytes) -> bytes:
    """EXIF without the pixels that its directories point to and without the JPEGs in it.

    Pixels are those of thumbnails, previews in directories below the first one, and of the first one itself, which a raw photo has. Editors
    leave behind where they lay in another file: so no byte is taken of a directory or value but those of thumbnails.
    """
    data = bytearray(exif)
    pixels: list[tuple[int, int]] = []
    kept: list[tuple[int, int]] = [(0, 8)]
    with contextlib.suppress(tiff.DamagedError):  # malformed: no reader finds its thumbnail by the directories either
        source = tiff.Reader(io.BytesIO(exif))
        for at, directory, follows in source.directories():
            if at == source.first and directory.next and not source.big:
                struct.pack_into(source.order + "I", data, directory.link_at, 0)
            pixels += source.pixels(directory)
            if not follows:
                kept.append((at, directory.link_at + 4 - at))
                kept += [(slot.where, slot.size) for slot in directory.slots if slot.tag != MAKER_NOTE]
    before = bytes(data)
    blank(data, pixels)
    for start, end in _merged(kept, len(data)):
        data[start:end] = before[start:end]
    blank(data, _jpegs(exif, kept))
    return bytes(data)


def _jpegs(exif: bytes, kept: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Where JPEGs start, and their sizes. One without an end reaches to the next directory or value, or to where its own value ends."""
    # A preview has a thumbnail of its own in it. Each end is the last start's: bytes that look like one more start by chance must not hide
    # a preview behind them.
    starts: list[int] = []
    spans = []
    for mark in MARK.finditer(exif):
        if mark[0] != b"\xff\xd9":
            starts.append(mark.start())
        elif starts:
            spans.append((starts[-1], mark.end() - starts.pop()))
    bounds = sorted({edge for at, size in kept for edge in (at, at + size)})
    for start in starts:
        after = bisect_right(bounds, start)
        stop = bounds[after] if after < len(bounds) else len(exif)
        if _is_jpeg(exif, start, stop):
            spans.append((start, stop - start))
    return spans


def _is_jpeg(data: bytes, start: int, stop: int) -> bool:
    """Whether a start without an end is none by chance: a segment follows, and behind that another one, or it reaches to `stop`."""
    if start + 6 > len(data) or data[start + 3] not in FIRST_MARKERS:
        return False
    next_at = start + 4 + int.from_bytes(data[start + 4 : start + 6], "big")
    return next_at >= min(stop, len(data)) or data[next_at] == 0xFF


def blank(data: bytearray, spans: Iterable[tuple[int, int]]) -> None:
    """Put zeros into spans of start and size."""
    for start, end in _merged(spans, len(data)):
        data[start:end] = bytes(end - start)


def _merged(spans: Iterable[tuple[int, int]], end: int) -> Iterator[tuple[int, int]]:
    """Starts and ends; the spans of a hostile file may overlap a thousandfold, but no byte comes twice."""
    done = 0
    for at, size in sorted(spans):
        start, stop = max(at, done), min(at + size, end)
        if start < stop:
            yield start, stop
            done = stop
