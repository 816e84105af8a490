"""EXIF with something cut out of it in place: writing it anew would move maker notes, whose inner offsets then point nowhere."""

from __future__ import annotations

import io
import struct

from anti_i2v.imaging.metadata import tiff
from anti_i2v.imaging.metadata.previews import MAKER_NOTE, blank


def without_directory(exif: bytes, tag: int) -> bytes:
    """EXIF without a directory that its first one points to; its bytes become zeros, and all others stay in their place.

    Raises:
        tiff.DamagedError: It cannot be read, so it is unknown whether the directory is in it.
    """
    data, source = bytearray(exif), tiff.Reader(io.BytesIO(exif))
    first = source.directory(source.first)
    link = _link(source, first, tag)
    if link is None:
        return exif
    if source.big:
        raise tiff.DamagedError("no such EXIF")
    slot, at = link
    below = source.directory(at)
    blank(data, [*((value.where, value.size) for value in below.slots), (at, below.link_at + 4 - at)])
    row, end = slot.at, first.link_at + 4
    data[row:end] = data[row + 12 : end] + bytes(12)  # the rows behind it move up, and the link with them
    struct.pack_into(source.order + "H", data, source.first, len(first.slots) - 1)
    return bytes(data)


def without_maker_note(exif: bytes) -> bytes:
    """EXIF whose maker note is zeros: each maker writes it otherwise, and some write places into it (Panasonic's city and landmark).

    Raises:
        tiff.DamagedError: It cannot be read, so it is unknown where the note is.
    """
    data, source = bytearray(exif), tiff.Reader(io.BytesIO(exif))
    link = _link(source, source.directory(source.first), tiff.EXIF)
    slots = source.directory(link[1]).slots if link else ()
    blank(data, [(slot.where, slot.size) for slot in slots if slot.tag == MAKER_NOTE])
    return bytes(data)


def orientation_alone(exif: bytes) -> bytes:
    """EXIF that says nothing but which way up the photo is, for one that cannot be kept; empty if it did not say so."""
    try:
        source = tiff.Reader(io.BytesIO(exif))
        values = source.numbers(source.directory(source.first).find(tiff.ORIENTATION))
    except tiff.DamagedError:
        return b""
    known = len(values) == 1 and values[0] in range(1, 9)
    return tiff.encode_exif([tiff.Entry(tiff.ORIENTATION, 3, 1, struct.pack("<H", values[0]))] if known else [])


def _link(source: tiff.Reader, first: tiff.Directory, tag: int) -> tuple[tiff.Slot, int] | None:
    """The row that points to a directory, and where that is; None if there is none.

    Raises:
        tiff.DamagedError: There are several, of which each reader believes another, or it points in a circle.
    """
    links = [slot for slot in first.slots if slot.tag == tag]
    if not links:
        return None
    if len(links) > 1 or len(offsets := source.numbers(links[0])) != 1 or offsets[0] == source.first:
        raise tiff.DamagedError("no such EXIF")
    return links[0], offsets[0]
