"""Captions and credits as IPTC's IIM datasets in the image resources that Photoshop defined, in JPEG, TIFF and PNG.

Of the resources only those are carried over that describe the photo; the others hold thumbnails of the unprotected photo, paths and
settings (Adobe Photoshop File Formats Specification, "Image Resource IDs").
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping

IIM, DIGEST = 0x0404, 0x0425
CARRIED = (IIM, 0x040A, 0x040B, DIGEST)  # datasets, copyright flag, URL, and the sum by which readers see that they are as written
HEAD = b"Photoshop 3.0\0"

Predicate = Callable[[int, int], bool]
"""Whether a dataset, by its record and its number, is to be removed."""


def read_resources(data: bytes) -> dict[int, bytes]:
    """Image resources by number, as far as they can be followed.

    Args:
        data: A TIFF's tag 34377, or a JPEG's APP13 after `HEAD`.
    """
    resources, at = {}, 0
    while data[at : at + 4] == b"8BIM" and at + 12 <= len(data):
        (number,) = struct.unpack_from(">H", data, at + 4)
        at += 6 + (data[at + 6] + 2) // 2 * 2  # a name, with its length before it, to an even end
        size = int.from_bytes(data[at : at + 4], "big")
        resources[number] = data[at + 4 : at + 4 + size]
        at += 4 + size + size % 2
    return resources


def select(resources: Mapping[int, object], unwanted: Predicate | None) -> dict[int, bytes]:
    """The resources that are carried over, without unwanted datasets."""
    selected = {number: value for number in CARRIED if isinstance(value := resources.get(number), bytes)}
    if unwanted and IIM in selected and (fewer := _without(selected[IIM], unwanted)) != selected[IIM]:
        selected[IIM] = fewer
        selected.pop(DIGEST, None)
    return {number: value for number, value in selected.items() if value}


def encode_resources(resources: Mapping[int, bytes]) -> bytes:
    """Resources as bytes; the inverse of `read_resources`."""
    return b"".join(
        b"8BIM" + struct.pack(">HHI", number, 0, len(value)) + value + bytes(len(value) % 2) for number, value in sorted(resources.items())
    )


def to_profile(resources: Mapping[int, bytes]) -> str:
    """Resources as the text that ImageMagick began to put into PNG under `Raw profile type iptc`, and that ExifTool reads."""
    data = encode_resources(resources)
    lines = "\n".join(data[at : at + 36].hex() for at in range(0, len(data), 36))
    return f"\niptc\n{len(data):8}\n{lines}\n"


def from_profile(text: str) -> bytes:
    """The bytes of such a text, of any type.

    Raises:
        ValueError: It is no such text.
    """
    return bytes.fromhex("".join(text.split("\n", 3)[3:]))


def trim(iim: bytes) -> bytes:
    """Datasets without the zeros behind them that fill TIFF's words, but with those that the last one ends in."""
    end = max((end for _, _, _, end in _datasets(iim)), default=0)
    return iim[:end] if not iim[end:].strip(b"\0") else iim


def _without(iim: bytes, unwanted: Predicate) -> bytes:
    """Datasets without the unwanted ones; what follows a damaged one is left out, because its kind is unknown."""
    return b"".join(iim[start:end] for record, number, start, end in _datasets(iim) if not unwanted(record, number))


def _datasets(iim: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Record, number, start and end of each, as far as they can be followed."""
    at = 0
    while iim[at : at + 1] == b"\x1c" and at + 5 <= len(iim):
        record, number, size = struct.unpack_from(">BBH", iim, at + 1)
        end = at + 5 + size
        if size & 0x8000:  # the length of the length
            width = size & 0x7FFF
            end = at + 5 + width + int.from_bytes(iim[at + 5 : at + 5 + min(width, 8)], "big")
        yield record, number, at, end
        at = end
