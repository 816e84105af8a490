"""TIFF files with several pages: smaller copies of the photo are none of them, and a file that begins with one is no photo."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest

from anti_i2v.errors import UsageError
from anti_i2v.imaging.metadata import tiff
from anti_i2v.imaging.reading import read_photo
from anti_i2v.imaging.writing import save_photo
from tests.tiny.photos import picture, smooth, tiff_pages

FULL, SMALLER = 0, 1
OLD = 255  # the tag before 254 that said what a page is


@pytest.mark.parametrize(("tag", "smaller"), [(254, 1), (OLD, 2)])
def test_smaller_copies_of_a_photo_go_with_its_other_previews(tmp_path: Path, tag: int, smaller: int) -> None:
    photo = read_photo(io.BytesIO(tiff_pages(FULL, smaller, smaller, tag=tag)), "a.tif")
    assert photo.tobytes() == smooth("RGB").tobytes()
    assert save_photo(photo, tmp_path / "b.tif", photo) == ()
    again = read_photo(tmp_path / "b.tif")
    assert again.tobytes() == photo.tobytes()
    assert not again.is_animated  # type: ignore[attr-defined]


@pytest.mark.parametrize("kinds", [(FULL, FULL), (FULL, SMALLER, FULL), (FULL, *(SMALLER,) * 20)])
def test_more_pages_than_one_are_refused(kinds: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="more than one frame or page"):
        read_photo(io.BytesIO(tiff_pages(*kinds)), "a.tif")


@pytest.mark.parametrize(("kinds", "more"), [((SMALLER, FULL), ()), ((SMALLER,), (tiff.Entry(330, 4, 1, struct.pack("<I", 8)),))])
def test_a_raw_file_is_not_protected_by_its_preview(kinds: tuple[int, ...], more: tuple[tiff.Entry, ...]) -> None:
    with pytest.raises(UsageError, match="begins with a preview of the photo, as raw files do; export it as TIFF or JPEG"):
        read_photo(io.BytesIO(tiff_pages(*kinds, more=more)), "a.tif")
    assert read_photo(io.BytesIO(tiff_pages(SMALLER)), "a.tif").size == (60, 44)


def test_ratings_and_what_windows_asks_for_stay(tmp_path: Path) -> None:
    file = io.BytesIO()
    picture("RGB").save(file, "TIFF")
    words = "Zoë; Hund\0".encode("utf-16-le")
    tags = {
        18246: tiff.Entry(18246, 3, 1, struct.pack("<H", 4)),
        18249: tiff.Entry(18249, 3, 1, struct.pack("<H", 75)),
        40094: tiff.Entry(40094, 1, len(words), words),
        285: tiff.Entry(285, 2, 9, b"page one\0"),
    }
    tiff.add_tags(file, tags.values())
    photo = read_photo(file, "a.tif")
    for suffix in (".tif", ".png"):
        save_photo(photo, tmp_path / f"b{suffix}", photo)
        exif = read_photo(tmp_path / f"b{suffix}").info["exif"].removeprefix(b"Exif\0\0")
        source = tiff.Reader(io.BytesIO(exif))
        assert {entry.tag: entry for entry in source.entries(source.first, tags)} == tags
