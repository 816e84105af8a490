"""EXIF with something cut out of it in place: writing it anew would move maker notes, whose inner offsets then point nowhere."""

from __future__ import annotations

import io
import re
import struct

from anti_i2v.files import tiff

MAKER_NOTE = 37500


def without_directory(exif: bytes, tag: int) -> bytes:
    """EXIF without a directory that its first one points to; its bytes become zeros, and all others stay in their place.

    Raises:
        tiff.TornError: It cannot be read, so it cannot be told whether the directory is in it.
    """
    data, source = bytearray(exif), tiff.Source(io.BytesIO(exif))
    first = source.directory(source.first)
    links = [slot for slot in first.slots if slot.tag == tag]
    if not links:
        return exif
    if len(links) > 1 or source.big or len(offsets := source.numbers(links[0])) != 1 or offsets[0] == source.first:
        raise tiff.TornError("no such EXIF")
    below = source.directory(offsets[0])
    for slot in below.slots:
        _blank(data, slot.where, slot.size)
    _blank(data, offsets[0], below.link_at + 4 - offsets[0])
    row, end = links[0].at, first.link_at + 4
    data[row:end] = data[row + 12 : end] + bytes(12)  # the rows behind it move up, and the link with them
    struct.pack_into(source.order + "H", data, source.first, len(first.slots) - 1)
    return bytes(data)


def without_pictures(exif: bytes) -> bytes:
    """EXIF whose thumbnail and previews are zeros: they show the unprotected photo. All other bytes stay in their place."""
    data = bytearray(exif)
    try:
        source = tiff.Source(io.BytesIO(exif))
        first = source.directory(source.first)
        if first.next and not source.big:
            struct.pack_into(source.order + "I", data, first.link_at, 0)
            thumbnail = source.directory(first.next)
            for where, sizes in ((0x0201, 0x0202), (0x0111, 0x0117)):  # as JPEG, as strips
                pairs = zip(source.numbers(thumbnail.find(where)), source.numbers(thumbnail.find(sizes)), strict=False)
                for at, size in pairs:
                    _blank(data, at, size)
    except (tiff.TornError, struct.error):
        pass  # malformed: nobody finds its thumbnail by the directories either
    depth, start = 0, 0  # a maker's preview is a JPEG file in the maker note, with a thumbnail of its own in it
    for mark in re.finditer(rb"\xff\xd8\xff|\xff\xd9", exif):
        if mark[0] != b"\xff\xd9":
            start = mark.start() if depth == 0 else start
            depth += 1
        elif depth:
            depth -= 1
            if depth == 0:
                _blank(data, start, mark.end() - start)
    return bytes(data)


def without_maker_note(exif: bytes) -> bytes:
    """EXIF whose maker note is zeros: each maker writes it otherwise, and some write places into it (Panasonic's city and landmark).

    Raises:
        tiff.TornError: It cannot be read, so it cannot be told where the note is.
    """
    data, source = bytearray(exif), tiff.Source(io.BytesIO(exif))
    for link in source.directory(source.first).slots:
        if link.tag == tiff.EXIF:
            for offset in source.numbers(link):
                for slot in source.directory(offset).slots:
                    if slot.tag == MAKER_NOTE:
                        _blank(data, slot.where, slot.size)
    return bytes(data)


def _blank(data: bytearray, at: int, size: int) -> None:
    data[at : at + size] = bytes(len(data[at : at + size]))
