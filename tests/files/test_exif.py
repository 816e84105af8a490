"""EXIF goes over byte for byte, but for the pictures in it and, on demand, for the place."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest
from PIL import Image

from anti_i2v.files import tiff
from anti_i2v.files.exif import without_directory, without_pictures
from anti_i2v.files.reading import read_photo
from anti_i2v.files.writing import Saving, save_photo
from tests.tiny_photos import directories, exif, picture, told

HEAD = b"Exif\0\0"
SECRET = b"\xff\xd8\xff\xdb the clean face \xff\xd9"
RAW = exif().removeprefix(HEAD)


def entries(data: bytes) -> tuple[tiff.Entry, ...]:
    source = tiff.Source(io.BytesIO(data))
    return source.entries(source.first)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".avif", ".tif"])
def test_the_thumbnail_of_the_unprotected_photo_does_not_survive_and_the_rest_of_exif_does(tmp_path: Path, suffix: str) -> None:
    photo = picture("RGB")
    photo.info["exif"] = exif(thumbnail=SECRET)
    assert b"the clean face" in photo.info["exif"]
    save_photo(picture("RGB"), tmp_path / f"b{suffix}", photo)
    assert b"the clean face" not in (tmp_path / f"b{suffix}").read_bytes()
    assert tuple(told(read_photo(tmp_path / f"b{suffix}")).values()) == directories()


def test_previews_in_maker_notes_are_blanked_with_the_thumbnails_in_them() -> None:
    inner = b"\xff\xd8\xff\xe0 small \xff\xd9"
    note = b"MAKER\0" + b"\xff\xd8\xff\xe1" + inner + b" large, after its own thumbnail \xff\xd9" + b"the end"
    data = tiff.exif([tiff.Entry(tiff.EXIF, 4, 1, b"", (tiff.Entry(0x927C, 7, len(note), note),))])
    clean = without_pictures(data)
    assert len(clean) == len(data)
    assert b"small" not in clean
    assert b"large" not in clean
    assert b"MAKER" in clean
    assert b"the end" in clean


def test_exif_without_pictures_and_malformed_exif_stay_as_they_are() -> None:
    for data in (RAW, b"II*\0", b"", b"garbage", RAW[:30]):
        assert without_pictures(data) == data


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_place_is_cut_out_and_nothing_else_moves(order: str) -> None:
    data = b"II*\0\x08\0\0\0" if order == "<" else b"MM\0*\0\0\0\x08"
    data += tiff.written(directories(), 8, order)
    assert entries(data) == directories()  # either byte order reads alike
    clean = without_directory(data, tiff.GPS)
    assert len(clean) == len(data)
    assert entries(clean) == directories()[:-1]
    assert struct.pack("<6I", 38, 1, 43, 1, 0, 1) not in clean
    assert struct.pack(">6I", 38, 1, 43, 1, 0, 1) not in clean
    at = data.index(b"MAKER")
    assert clean[at : at + 8] == data[at : at + 8]
    assert without_directory(clean, tiff.GPS) == clean


def test_exif_whose_place_cannot_be_told_is_refused() -> None:
    twice = b"II*\0\x08\0\0\0" + tiff.written([directories()[-1]], 8, rows=[(tiff.GPS, struct.pack("<HHII", tiff.GPS, 4, 1, 8))])
    itself = b"II*\0\x08\0\0\0" + tiff.written([], 8, rows=[(tiff.GPS, struct.pack("<HHII", tiff.GPS, 4, 1, 8))])
    for data in (b"", b"garbage", RAW[:30], twice, itself):
        with pytest.raises(tiff.TornError):
            without_directory(data, tiff.GPS)


def test_directories_that_point_in_circles_or_nowhere_end() -> None:
    circle = struct.pack("<HHII", tiff.EXIF, 4, 1, 8)  # EXIF's directory is the first one, which has EXIF's directory, which …
    assert [entry.tag for entry in entries(b"II*\0\x08\0\0\0" + tiff.written([], 8, rows=[(tiff.EXIF, circle)]))] == [tiff.EXIF]
    nowhere = struct.pack("<HHII", tiff.EXIF, 4, 1, 2**31)
    assert entries(b"II*\0\x08\0\0\0" + tiff.written([], 8, rows=[(tiff.EXIF, nowhere)])) == ()
    endless = struct.pack("<HHII", 271, 2, 2**32 - 1, 8)
    assert entries(b"II*\0\x08\0\0\0" + tiff.written([], 8, rows=[(271, endless)])) == ()
    with pytest.raises(tiff.TornError):
        entries(b"II*\0\x08\0\0\0\xff\xff")


def test_a_tiff_gets_tags_and_keeps_its_pixels_and_its_own() -> None:
    file = io.BytesIO()
    picture("I;16").save(file, "TIFF")
    tiff.append(file, directories(1))
    photo = read_photo(file)
    assert photo.tobytes() == picture("I;16").tobytes()
    assert tuple(told(photo).values()) == directories(1)
    assert photo.getexif().get_ifd(tiff.EXIF)[0x9003] == "2020:01:01 00:00:00"


def test_an_avif_that_is_turned_by_its_container_keeps_the_bytes_of_its_exif(tmp_path: Path) -> None:
    class Turned(Image.Exif):
        def tobytes(self, offset: int = 8) -> bytes:
            return tiff.exif(entry for entry in directories() if entry.tag != 0x0112)

    turned = Turned()
    turned[0x0112] = 6
    turned[0x010F] = "so that it is not empty"
    picture("RGB").save(tmp_path / "a.avif", exif=turned)
    photo = read_photo(tmp_path / "a.avif")
    assert photo.getexif()[0x0112] == 6
    assert tuple(told(photo).values()) == directories()
    save_photo(picture("RGB"), tmp_path / "b.avif", photo)
    again = read_photo(tmp_path / "b.avif")
    assert again.info["exif"] == photo.info["exif"]


def test_a_maker_note_that_may_name_the_place_goes_with_it(tmp_path: Path) -> None:
    inside = (tiff.Entry(0x9003, 2, 20, b"2020:01:01 00:00:00\0"), tiff.Entry(37500, tiff.UNDEFINED, 16, b"Panasonic:Venice"))
    photo = picture("RGB")
    photo.info["exif"] = HEAD + tiff.exif([tiff.Entry(tiff.EXIF, tiff.LONG, 1, b"", inside)])
    save_photo(picture("RGB"), tmp_path / "kept.jpg", photo)
    assert b"Venice" in (tmp_path / "kept.jpg").read_bytes()
    save_photo(picture("RGB"), tmp_path / "stripped.jpg", photo, Saving(strip_gps=True))
    assert b"Venice" not in (tmp_path / "stripped.jpg").read_bytes()
    assert read_photo(tmp_path / "stripped.jpg").getexif().get_ifd(tiff.EXIF)[0x9003] == "2020:01:01 00:00:00"


def test_unreadable_exif_costs_neither_the_photo_nor_the_file(tmp_path: Path) -> None:
    picture("RGB").save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff broken")
    photo = read_photo(tmp_path / "a.jpg")
    notes = save_photo(picture("RGB"), tmp_path / "b.jpg", photo, Saving(strip_gps=True))
    assert len(notes) == 1
    assert "EXIF" in notes[0]
    assert "exif" not in read_photo(tmp_path / "b.jpg").info
