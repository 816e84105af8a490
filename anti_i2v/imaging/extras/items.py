"""Items of HEIC and AVIF files: which pictures lie beside the main one (ISO/IEC 23008-12).

Decoders take the main picture with its transparency and leave the others alone, and a protected file is encoded from that one picture.
"""

from __future__ import annotations

import io
import re
import struct
from typing import BinaryIO

from anti_i2v.imaging import containers
from anti_i2v.imaging.extras import samsung
from anti_i2v.imaging.extras.behind import names_behind, pictures
from anti_i2v.imaging.metadata.claims import DEPTH, FILM, GAIN_MAP

META_MAX = 2**22  # bytes of the box of items
FILMS = (b"mpvd", b"moov", b"moof")  # a motion photo's; a sequence of pictures
USUAL = (b"ftyp", b"meta", b"mdat", b"free", b"skip", b"wide", b"pdin", b"uuid", b"sefd")
CODED = (b"hvc1", b"av01", b"vvc1", b"avc1", b"jpeg", b"j2k1", b"unci", b"grid", b"iovl", b"iden")
USED = (b"thmb", b"auxl", b"dimg")  # references: is a thumbnail of, belongs to; is made from
ALPHA = re.compile(rb"alpha|auxid:1$")
AUXILIARY = {GAIN_MAP: re.compile(rb"(?i)gain_?map"), DEPTH: re.compile(rb"depth|disparity|auxid:2$")}


def names(file: BinaryIO, kind: str) -> list[str]:
    """What such a file holds beside the main picture, by name."""
    found, end, size = [], 0, file.seek(0, io.SEEK_END)
    for name, at, length in containers.blocks(file, kind):
        if (end and name == b"ftyp") or not re.fullmatch(rb"[ -~]{4}", name):  # another file, or no box
            break
        end = at + length
        if name == b"meta":
            file.seek(at)
            found += _in_items(file.read(min(length, META_MAX)))
        elif name in FILMS:
            found.append(FILM)
        elif name == b"sefd":
            found += samsung.names(file, at, min(end, size))[0]
        elif name not in USUAL:
            found.append("unknown data (box of a HEIC or AVIF)")
    return found + names_behind(file, end, size)


def _in_items(meta: bytes) -> list[str]:
    found = []
    parts = {name: meta[at : at + size] for name, at, size in _boxes(meta, 4)}
    properties = parts.get(b"iprp", b"")
    for name, at, size in _boxes(properties, 0):
        inner = properties[at : at + size] if name == b"ipco" else b""
        for kind, where, length in _boxes(inner, 0):
            auxiliary = inner[where + 4 : where + length].split(b"\0")[0] if kind == b"auxC" else b""
            if auxiliary and not ALPHA.search(auxiliary):
                found.append(next((subject for subject, mark in AUXILIARY.items() if mark.search(auxiliary)), "auxiliary pictures"))
    try:
        coded, main = _coded(parts.get(b"iinf", b"")), _number(parts.get(b"pitm", b""))
        if b"tmap" in coded.values():  # ISO 21496-1: the picture and its gain map make another
            found.append(GAIN_MAP)
        further = {item for item, kind in coded.items() if kind in CODED} - _used(parts.get(b"iref", b"")) - {main}
    except struct.error:
        return found
    return found + pictures(len(further))


def _boxes(data: bytes, at: int) -> list[containers.Block]:
    return list(containers.boxes_from(io.BytesIO(data), at))


def _number(pitm: bytes) -> int:
    """The number of the main picture."""
    (number,) = struct.unpack_from(">I" if pitm[:1] == b"\1" else ">H", pitm, 4)
    return int(number)


def _coded(iinf: bytes) -> dict[int, bytes]:
    """The kinds of items that are shown, by number."""
    coded = {}
    for name, at, size in _boxes(iinf, 6 if iinf[:1] == b"\0" else 8):
        version, hidden = iinf[at : at + 1], iinf[at + 3 : at + 4]
        if name == b"infe" and size >= 12 and version in (b"\2", b"\3"):
            number, _, kind = struct.unpack_from(">HH4s" if version == b"\2" else ">IH4s", iinf, at + 4)
            if kind == b"tmap" or not hidden[0] & 1:
                coded[number] = kind
    return coded


def _used(iref: bytes) -> set[int]:
    """The numbers of pictures that are parts of others, their thumbnails or what belongs to them."""
    form = ">I" if iref[:1] == b"\1" else ">H"
    width, used = struct.calcsize(form), set()
    for name, at, size in _boxes(iref, 4):
        numbers = [number for (number,) in struct.iter_unpack(form, iref[at : at + width])]
        begin = at + width + 2
        if name == b"dimg":
            numbers = [number for (number,) in struct.iter_unpack(form, iref[begin : at + (size - 2) // width * width + 2])]
        if name in USED:
            used.update(numbers)
    return used
