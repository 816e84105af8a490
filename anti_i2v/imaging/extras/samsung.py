"""Blocks that Samsung's phones put behind a photo, with a directory at its very end: `SEFH`, rows, its length, `SEFT`."""

from __future__ import annotations

import re
import struct
from typing import BinaryIO

from anti_i2v.imaging.metadata.claims import DEPTH, FILM, SOUND

OTHER = "data of a Samsung camera"
NAMES = {
    FILM: re.compile(rb"Motion|Video"),
    DEPTH: re.compile(rb"Depth"),
    SOUND: re.compile(rb"Audio|Sound"),
    "further pictures": re.compile(rb"SubImage|ExtraImage|(?:Single|Dual)Shot_\d|Original|Panorama"),
}


def names(file: BinaryIO, start: int, end: int) -> tuple[list[str], int]:
    """What the blocks between two places hold, and where the first of them lies; nothing and the end if there are none."""
    try:
        file.seek(max(start, end - 8))
        length, mark = struct.unpack("<I4s", file.read(8))
        head = end - 8 - length
        if mark != b"SEFT" or head < start:
            return [], end
        file.seek(head)
        directory = file.read(min(length, 2**14))
        if not directory.startswith(b"SEFH"):
            return [], end
        found, first = [], head
        for _, _, offset, _ in struct.iter_unpack("<HHII", directory[12 : len(directory) // 12 * 12]):
            if start <= head - offset < head:
                first = min(first, head - offset)
                file.seek(head - offset + 4)
                (length,) = struct.unpack("<I", file.read(4))
                name = file.read(min(length, 64))
                found.append(next((subject for subject, pattern in NAMES.items() if pattern.search(name)), OTHER))
        return found or [OTHER], first
    except struct.error:
        return [], end
