"""What lies behind the end of a picture: phones put a gain map, depth maps and films there, cameras a preview."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import BinaryIO

from anti_i2v.imaging import containers
from anti_i2v.imaging.extras import samsung
from anti_i2v.imaging.metadata.claims import DEPTH, FILM, GAIN_MAP

PICTURE, UNKNOWN = "picture", "unknown"
START = re.compile(rb"\xff\xd8\xff|ftyp")
# What the metadata of a picture says that it is: Adobe's, Apple's and ISO's gain maps; Apple's and Google's depth maps.
MARKS = {
    GAIN_MAP: re.compile(rb"hdr-gain-map/|(?i:hdrgainmap)|iso:ts:21496"),
    DEPTH: re.compile(rb"aux:(?:depth|disparity)|dd/1\.0/depthmap"),
}
PIECES, BLOCKS = 64, 1024  # no photo has more behind it, and none of what is there has more blocks
FILLING = b"\0\xff \t\r\n"
STEP = 2**20


def names_behind(
    file: BinaryIO, start: int, end: int, order: Sequence[str | None] = (), listed: Mapping[int, str] | None = None
) -> list[str]:
    """What lies between two places, by name.

    Args:
        file: The photo.
        start: Where its main picture ends.
        end: Where the file ends.
        order: What lies there, as its XMP lists it; None for what has no name.
        listed: What some of the pictures are, by where they start.
    """
    found, directory = samsung.names(file, start, end)
    expected = [name for name in order if name != FILM]
    nameless, unknown = 0, 0
    for kind, at, stop in _pieces(file, start, directory):
        if kind == FILM:
            found.append(FILM)
        elif kind == UNKNOWN:
            unknown += _content_size(file, at, stop)
        else:
            claimed = expected.pop(0) if expected else None
            name = (listed or {}).get(at) or _mark(file, at) or claimed
            nameless += name is None
            found += [name] if name else []
    return found + pictures(nameless) + ([f"unknown data behind the picture (up to {_rounded(unknown)})"] if unknown else [])


def pictures(number: int) -> list[str]:
    """So many pictures without a name, in words."""
    return [] if not number else ["a further picture"] if number == 1 else [f"{number} further pictures"]


def _pieces(file: BinaryIO, start: int, end: int) -> Iterator[tuple[str, int, int]]:
    """Pictures, films and what is neither, with where each starts and ends. No byte is searched twice, whatever the file."""
    at = start
    for _ in range(PIECES):
        kind, begin = _next_start(file, at, end)
        if begin > at:
            yield UNKNOWN, at, begin
        if not kind:
            return
        at = min(end, max(begin + 8, *_ends(file, kind, begin)))
        yield kind, begin, at
    if at < end:
        yield UNKNOWN, at, end


def _next_start(file: BinaryIO, at: int, end: int) -> tuple[str, int]:
    """What starts next, and where; nothing starts at the end."""
    place = at
    while place < end:
        file.seek(place)
        data = file.read(min(STEP, end - place))
        if match := START.search(data):
            found = place + match.start()
            return (FILM, max(at, found - 4)) if match[0] == b"ftyp" else (PICTURE, found)
        place += max(1, len(data) - 3) if data else end
    return "", end


def _ends(file: BinaryIO, kind: str, at: int) -> list[int]:
    """Where the parts of a picture or a film end; a damaged one ends where it cannot be followed."""
    if kind == PICTURE:
        return [0, *(where + size for _, where, size in containers.jpeg_segments(file, at, BLOCKS))]
    boxes = takewhile(lambda box: re.fullmatch(rb"[a-z0-9 ]{4}", box[0]), containers.boxes_from(file, at, BLOCKS))
    return [0, *(where + size for _, where, size in boxes)]


def _mark(file: BinaryIO, at: int) -> str | None:
    """What a JPEG says that it is."""
    for name, where, size in takewhile(lambda block: block[0] != containers.PIXELS, containers.jpeg_segments(file, at, BLOCKS)):
        if name in (b"\xe1", b"\xe2"):
            file.seek(where)
            content = file.read(min(size, 2**16))
            if found := next((subject for subject, mark in MARKS.items() if mark.search(content)), None):
                return found
    return None


def _content_size(file: BinaryIO, start: int, end: int) -> int:
    """How many bytes lie there; 0 if they only fill."""
    place = start
    while place < end:
        file.seek(place)
        data = file.read(min(STEP, end - place))
        if data.strip(FILLING):
            return end - start
        place += len(data) or end
    return 0


def _rounded(size: int) -> str:
    """A power of ten that is no less, so that many photos share one note."""
    limit = 10 ** max(3, len(str(size - 1)))
    unit, word = next((unit, word) for unit, word in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")) if unit <= limit)
    return f"{limit // unit} {word}"
