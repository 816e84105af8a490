"""EXIF goes over byte for byte, but for the pictures in it and, on demand, for the place."""

from __future__ import annotations

import io
import struct
import tracemalloc
from pathlib import Path

import pytest
from PIL import Image

from anti_i2v.imaging.metadata import tiff
from anti_i2v.imaging.metadata.exif import without_directory, without_maker_note
from anti_i2v.imaging.metadata.options import WriteOptions
from anti_i2v.imaging.metadata.previews import without_pictures
from anti_i2v.imaging.reading import read_photo
from anti_i2v.imaging.writing import save_photo
from tests.tiny.photos import directories, exif, exif_entries, picture

HEAD = b"Exif\0\0"
SECRET = b"\xff\xd8\xff\xdb the clean face \xff\xd9"
RAW = exif().removeprefix(HEAD)


def entries(data: bytes) -> tuple[tiff.Entry, ...]:
    source = tiff.Reader(io.BytesIO(data))
    return source.entries(source.first)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".avif", ".tif"])
def test_the_thumbnail_of_the_unprotected_photo_does_not_survive_and_the_rest_of_exif_does(tmp_path: Path, suffix: str) -> None:
    photo = picture("RGB")
    photo.info["exif"] = exif(thumbnail=SECRET)
    assert b"the clean face" in photo.info["exif"]
    save_photo(picture("RGB"), tmp_path / f"b{suffix}", photo)
    assert b"the clean face" not in (tmp_path / f"b{suffix}").read_bytes()
    assert tuple(exif_entries(read_photo(tmp_path / f"b{suffix}")).values()) == directories()


def test_previews_in_maker_notes_are_blanked_with_the_thumbnails_in_them() -> None:
    inner = b"\xff\xd8\xff\xe0 small \xff\xd9"
    note = b"MAKER\0" + b"\xff\xd8\xff\xe1" + inner + b" large, after its own thumbnail \xff\xd9" + b"the end"
    data = tiff.encode_exif([tiff.Entry(tiff.EXIF, 4, 1, b"", (tiff.Entry(0x927C, 7, len(note), note),))])
    clean = without_pictures(data)
    assert len(clean) == len(data)
    assert b"small" not in clean
    assert b"large" not in clean
    assert b"MAKER" in clean
    assert b"the end" in clean


def test_a_false_preview_marker_does_not_hide_a_real_preview() -> None:
    note = b"MAKER\0\xff\xd8\xff noise " + SECRET + b" the end"
    clean = without_pictures(tiff.encode_exif([tiff.Entry(tiff.EXIF, 4, 1, b"", (tiff.Entry(0x927C, 7, len(note), note),))]))
    assert b"the clean face" not in clean
    assert b"the end" in clean


@pytest.mark.timeout(60)  # about a second in linear time, hours in quadratic
def test_spans_that_overlap_a_thousandfold_take_no_time() -> None:
    strips = 200_000
    rows = struct.pack("<HHHII", 2, 0x0111, 4, strips, 44) + struct.pack("<HHIII", 0x0117, 4, strips, 44 + 4 * strips, 0)
    data = b"II*\0\x08\0\0\0" + struct.pack("<HI", 0, 14) + rows
    data += struct.pack("<I", 0) * strips + struct.pack("<I", 2**31) * strips
    assert without_pictures(data.ljust(2**21, b"x")) == data[:10].ljust(2**21, b"\0")  # what is left has no rows and no thumbnail
    place = struct.pack("<HHHIII", 1, tiff.GPS, 4, 1, 26, 0) + struct.pack("<H", 65535) + struct.pack("<HHII", 1, 7, 2**31, 26) * 65535
    clean = without_directory((b"II*\0\x08\0\0\0" + place).ljust(2**22, b"x"), tiff.GPS)
    assert clean[26:] == bytes(2**22 - 26)


def test_exif_of_several_maker_notes_is_refused() -> None:
    """Readers differ in which one they believe."""
    first = 8 + 2 + 12 * 2 + 4
    rows = [(tiff.EXIF, struct.pack("<HHII", tiff.EXIF, 4, 1, at)) for at in (first, first + 18)]
    notes = [struct.pack("<HHHI4sI", 1, 37500, 7, 4, name, 0) for name in (b"Rome", b"Bonn")]
    with pytest.raises(tiff.DamagedError):
        without_maker_note(b"II*\0\x08\0\0\0" + tiff.encode_directory([], 8, rows=rows) + b"".join(notes))


def test_values_of_the_other_byte_order_take_little_memory() -> None:
    count = 500_000
    rows = struct.pack(">HHHIII", 1, 270, 3, count, 26, 0)
    data = b"MM\0*\0\0\0\x08" + rows + struct.pack(">H", 0x0102) * count
    tracemalloc.start()
    try:
        (entry,) = entries(data)
        assert tracemalloc.get_traced_memory()[1] < 6 * len(data)
    finally:
        tracemalloc.stop()
    assert entry.value == struct.pack("<H", 0x0102) * count


def test_exif_without_pictures_and_malformed_exif_stay_as_they_are() -> None:
    for data in (RAW, b"II*\0", b"", b"garbage", RAW[:30]):
        assert without_pictures(data) == data


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_place_is_cut_out_and_nothing_else_moves(order: str) -> None:
    data = b"II*\0\x08\0\0\0" if order == "<" else b"MM\0*\0\0\0\x08"
    data += tiff.encode_directory(directories(), 8, order)
    assert entries(data) == directories()  # either byte order reads alike
    clean = without_directory(data, tiff.GPS)
    assert len(clean) == len(data)
    assert entries(clean) == directories()[:-1]
    assert struct.pack("<6I", 38, 1, 43, 1, 0, 1) not in clean
    assert struct.pack(">6I", 38, 1, 43, 1, 0, 1) not in clean
    at = data.index(b"MAKER")
    assert clean[at : at + 8] == data[at : at + 8]
    assert without_directory(clean, tiff.GPS) == clean


def test_exif_with_an_unreadable_gps_entry_is_refused() -> None:
    twice = b"II*\0\x08\0\0\0" + tiff.encode_directory([directories()[-1]], 8, rows=[(tiff.GPS, struct.pack("<HHII", tiff.GPS, 4, 1, 8))])
    itself = b"II*\0\x08\0\0\0" + tiff.encode_directory([], 8, rows=[(tiff.GPS, struct.pack("<HHII", tiff.GPS, 4, 1, 8))])
    for data in (b"", b"garbage", RAW[:30], twice, itself):
        with pytest.raises(tiff.DamagedError):
            without_directory(data, tiff.GPS)


def test_directories_that_point_in_circles_or_nowhere_end() -> None:
    circle = struct.pack("<HHII", tiff.EXIF, 4, 1, 8)  # EXIF's directory is the first one, which has EXIF's directory, which …
    assert [entry.tag for entry in entries(b"II*\0\x08\0\0\0" + tiff.encode_directory([], 8, rows=[(tiff.EXIF, circle)]))] == [tiff.EXIF]
    nowhere = struct.pack("<HHII", tiff.EXIF, 4, 1, 2**31)
    assert entries(b"II*\0\x08\0\0\0" + tiff.encode_directory([], 8, rows=[(tiff.EXIF, nowhere)])) == ()
    endless = struct.pack("<HHII", 271, 2, 2**32 - 1, 8)
    assert entries(b"II*\0\x08\0\0\0" + tiff.encode_directory([], 8, rows=[(271, endless)])) == ()
    with pytest.raises(tiff.DamagedError):
        entries(b"II*\0\x08\0\0\0\xff\xff")


def test_a_tiff_gets_tags_and_keeps_its_pixels_and_its_own() -> None:
    file = io.BytesIO()
    picture("I;16").save(file, "TIFF")
    tiff.add_tags(file, directories(1))
    photo = read_photo(file)
    assert photo.tobytes() == picture("I;16").tobytes()
    assert tuple(exif_entries(photo).values()) == directories(1)
    assert photo.getexif().get_ifd(tiff.EXIF)[0x9003] == "2020:01:01 00:00:00"


def test_an_avif_that_is_turned_by_its_container_keeps_the_bytes_of_its_exif(tmp_path: Path) -> None:
    class Turned(Image.Exif):
        def tobytes(self, offset: int = 8) -> bytes:
            return tiff.encode_exif(entry for entry in directories() if entry.tag != 0x0112)

    turned = Turned()
    turned[0x0112] = 6
    turned[0x010F] = "so that it is not empty"
    picture("RGB").save(tmp_path / "a.avif", exif=turned)
    photo = read_photo(tmp_path / "a.avif")
    assert photo.getexif()[0x0112] == 6
    assert tuple(exif_entries(photo).values()) == directories()
    save_photo(picture("RGB"), tmp_path / "b.avif", photo)
    again = read_photo(tmp_path / "b.avif")
    assert again.info["exif"] == photo.info["exif"]


def test_a_maker_note_that_may_name_the_place_goes_with_it(tmp_path: Path) -> None:
    inside = (tiff.Entry(0x9003, 2, 20, b"2020:01:01 00:00:00\0"), tiff.Entry(37500, tiff.UNDEFINED, 16, b"Panasonic:Venice"))
    photo = picture("RGB")
    photo.info["exif"] = HEAD + tiff.encode_exif([tiff.Entry(tiff.EXIF, tiff.LONG, 1, b"", inside)])
    save_photo(picture("RGB"), tmp_path / "kept.jpg", photo)
    assert b"Venice" in (tmp_path / "kept.jpg").read_bytes()
    save_photo(picture("RGB"), tmp_path / "stripped.jpg", photo, WriteOptions(strip_gps=True))
    assert b"Venice" not in (tmp_path / "stripped.jpg").read_bytes()
    assert read_photo(tmp_path / "stripped.jpg").getexif().get_ifd(tiff.EXIF)[0x9003] == "2020:01:01 00:00:00"


def test_unreadable_exif_does_not_stop_protection(tmp_path: Path) -> None:
    picture("RGB").save(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff broken")
    photo = read_photo(tmp_path / "a.jpg")
    notes = save_photo(picture("RGB"), tmp_path / "b.jpg", photo, WriteOptions(strip_gps=True))
    assert len(notes) == 1
    assert "EXIF" in notes[0]
    assert "exif" not in read_photo(tmp_path / "b.jpg").info


def lying(place: bytes) -> Image.Image:
    """A photo on its side whose place lies behind all else."""
    rows = struct.pack("<HHHIHH", 2, 0x0112, 3, 1, 6, 0) + struct.pack("<HHIII", tiff.GPS, 4, 1, 38, 0)
    photo = picture("RGB")
    photo.info["exif"] = HEAD + b"II*\0\x08\0\0\0" + rows + place
    return photo


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_place_at_the_very_end_goes_and_the_orientation_stays(tmp_path: Path, suffix: str) -> None:
    """The link to a next directory, of which there is none, is often left out."""
    row = struct.pack("<HHHI4s", 1, 1, 2, 2, b"N\0\0\0")
    photo = lying(row)
    assert save_photo(picture("RGB"), tmp_path / f"a{suffix}", photo, WriteOptions(strip_gps=True)) == ()
    again = read_photo(tmp_path / f"a{suffix}")
    assert again.getexif()[0x0112] == 6
    assert tiff.GPS not in again.getexif()
    assert row not in (tmp_path / f"a{suffix}").read_bytes()


def test_exif_with_an_unreadable_gps_entry_is_removed_except_for_the_orientation(tmp_path: Path) -> None:
    photo = lying(b"\1")
    (note,) = save_photo(picture("RGB"), tmp_path / "a.jpg", photo, WriteOptions(strip_gps=True))
    assert note == "damaged EXIF, which may tell the place, was left out"
    assert dict(read_photo(tmp_path / "a.jpg").getexif()) == {0x0112: 6}
