"""No picture of the unprotected photo stays in EXIF, wherever it lies, and nothing else goes with it."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest

from anti_i2v.imaging.metadata import tiff
from anti_i2v.imaging.metadata.previews import without_pictures
from tests.tiny.extras import jpeg
from tests.tiny.photos import text

FACE = b"the clean face"
NOTE = 0x927C


def camera(note: bytes, *behind: tiff.Entry) -> bytes:
    """EXIF with a maker note between other values."""
    inside = (text(0x9003, "2020:01:01 00:00:00"), tiff.Entry(NOTE, 7, len(note), note), *behind)
    return tiff.encode_exif([text(0x010F, "ACME camera"), tiff.Entry(tiff.EXIF, 4, 1, b"", inside), text(0x9C9B, "a title")])


def cut_preview() -> bytes:
    """A preview that was cut off in its pixels: no end marker, and none by chance."""
    data = jpeg(size=(64, 64))
    return data[: data.index(b"\xff\xda") + 40]


@pytest.mark.parametrize(
    "preview",
    [
        cut_preview(),
        cut_preview()[:300],  # in its tables
        cut_preview()[:2] + cut_preview()[20:150],  # in its first table
        jpeg(b"\xff\xe1\0\x08\xff\xd8\xff\xdbxx\xff\xd9")[:-2],  # with a whole thumbnail of its own in it
        b"\x02\xd8" + cut_preview()[20:],  # the first byte changed, as Minolta and Sony do
    ],
)
def test_a_preview_without_its_end_is_blanked_to_the_end_of_its_maker_note_and_not_beyond(preview: bytes) -> None:
    data = camera(b"MAKER\0" + preview + FACE, text(0xA420, "an id that stays"))
    clean = without_pictures(data)
    at = data.index(preview)
    assert clean == data[:at] + bytes(len(preview) + len(FACE)) + data[at + len(preview) + len(FACE) :]
    assert b"an id that stays" in clean


def test_bytes_that_look_like_the_start_of_a_preview_by_chance_stay() -> None:
    rng = np.random.default_rng(0)
    for start in (b"\xff\xd8\xff\x20", b"\xff\xd8\xff\xdb\0\x09noise here", b"\x10\xd8\xff\xda"):
        data = camera(b"MAKER\0" + start + rng.integers(0, 200, 64, dtype=np.uint8).tobytes())
        assert without_pictures(data) == data


PLACES = [(0x0201, 0x0202), (0x0111, 0x0117), (0x0144, 0x0145)]


@pytest.mark.parametrize("tags", PLACES)
@pytest.mark.parametrize("home", [tiff.SUB_DIRECTORIES, tiff.EXIF, tiff.INTEROP])
def test_pictures_of_directories_below_the_first_are_blanked(tags: tuple[int, int], home: int) -> None:
    """As a raw photo has them, and in directories where no picture is usual."""

    def whole(at: int) -> bytes:
        rows = (tiff.Entry(tags[0], 4, 1, struct.pack("<I", at)), tiff.Entry(tags[1], 4, 1, struct.pack("<I", len(FACE))))
        inner = (tiff.Entry(tiff.INTEROP, 4, 1, b"", rows),) if home == tiff.INTEROP else rows
        below = tiff.Entry(tiff.EXIF if home == tiff.INTEROP else home, 4, 1, b"", inner)
        return tiff.encode_exif([text(0x010F, "ACME camera"), below])

    data = whole(len(whole(0))) + FACE + b"behind"
    assert without_pictures(data) == data.replace(FACE, bytes(len(FACE)))


def test_a_picture_in_a_directory_behind_that_of_exif_is_blanked() -> None:
    data = bytearray(camera(b"MAKER\0\1\2"))
    data += bytes(len(data) % 2)
    at = len(data)
    rows = [tiff.Entry(0x0201, 4, 1, struct.pack("<I", at + 30)), tiff.Entry(0x0202, 4, 1, struct.pack("<I", len(FACE)))]
    data += tiff.encode_directory(rows, at) + FACE
    source = tiff.Reader(io.BytesIO(bytes(data)))
    (below,) = source.numbers(source.directory(source.first).find(tiff.EXIF))
    struct.pack_into("<I", data, source.directory(below).link_at, at)
    assert FACE in data
    assert FACE not in without_pictures(bytes(data))


def test_places_of_pixels_that_an_editor_left_behind_take_nothing_away() -> None:
    """EXIF that was copied from a TIFF still says where the pixels lay there."""
    stale = [
        tiff.Entry(0x0111, 4, 1, struct.pack("<I", 8)),
        tiff.Entry(0x0117, 4, 1, struct.pack("<I", 10**6)),
        text(0x010F, "ACME camera"),
    ]
    data = tiff.encode_exif([*stale, tiff.Entry(tiff.EXIF, 4, 1, b"", (text(0x9003, "2020:01:01 00:00:00"),))])
    assert without_pictures(data) == data


@pytest.mark.timeout(60)  # a second in linear time, hours in quadratic
@pytest.mark.parametrize("piece", [b"\xff\xd8\xff\xe0\xff\xff", b"\xff\xd8\xff\xe0\0\4\xff", b"\x01\xd8\xff\xdb"])
def test_thousands_of_starts_take_no_time(piece: bytes) -> None:
    data = camera(b"MAKER\0" + piece * 300_000)
    assert len(without_pictures(data)) == len(data)
