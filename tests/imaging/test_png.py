"""PNG files that viewers show and Pillow refuses, and what they say that Pillow leaves out."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import pytest

from anti_i2v.errors import UsageError
from anti_i2v.imaging.containers import blocks
from anti_i2v.imaging.reading import read_photo
from anti_i2v.imaging.writing import save_photo
from tests.tiny.photos import WIDE, chunk, png, smooth

PLACED = (
    chunk(b"tIME", struct.pack(">HBBBBB", 2001, 2, 3, 4, 5, 6)),
    chunk(b"oFFs", struct.pack(">iiB", 30, -40, 0)),
    chunk(b"pHYs", struct.pack(">IIB", 2, 1, 0)),  # pixels twice as high as wide
    chunk(b"sCAL", b"\x011.5\x002.5"),
    chunk(b"sTER", b"\1"),
)


def names(data: bytes) -> list[bytes]:
    return [name for name, _, _ in blocks(io.BytesIO(data), "PNG")]


def damaged(data: bytes) -> bytes:
    """A chunk whose check sum is wrong."""
    return data[:-1] + bytes([data[-1] ^ 1])


def test_what_is_said_about_a_png_stays_and_its_file_is_sound(tmp_path: Path) -> None:
    data = png(*PLACED, chunk(b"sBIT", b"\5"), chunk(b"bKGD", b"\0\x10"))
    photo = read_photo(io.BytesIO(data), "a.png")
    save_photo(photo, tmp_path / "b.png", photo)
    written = (tmp_path / "b.png").read_bytes()
    for part in (*PLACED, chunk(b"sBIT", b"\5"), chunk(b"bKGD", b"\0\x10")):
        assert written.count(part) == 1
    assert read_photo(tmp_path / "b.png").tobytes() == photo.tobytes()
    assert names(written).index(b"pHYs") < names(written).index(b"IDAT")


def test_a_background_goes_where_the_pixels_become_of_another_kind(tmp_path: Path) -> None:
    photo = read_photo(io.BytesIO(png(*PLACED, chunk(b"bKGD", b"\0\x10"), chunk(b"sBIT", b"\5"))), "a.png")
    save_photo(photo.convert("RGB"), tmp_path / "b.png", photo)
    assert not {b"bKGD", b"sBIT"} & set(names((tmp_path / "b.png").read_bytes()))
    assert b"tIME" in names((tmp_path / "b.png").read_bytes())


def test_no_chunk_may_be_there_twice_or_of_any_length(tmp_path: Path) -> None:
    other = chunk(b"tIME", struct.pack(">HBBBBB", 2002, 2, 3, 4, 5, 6))
    photo = read_photo(io.BytesIO(png(PLACED[0], other, chunk(b"oFFs", bytes(10)), chunk(b"pCAL", bytes(2000)))), "a.png")
    save_photo(photo, tmp_path / "b.png", photo)
    written = (tmp_path / "b.png").read_bytes()
    assert names(written).count(b"tIME") == 1
    assert PLACED[0] in written
    assert not {b"oFFs", b"pCAL"} & set(names(written))


@pytest.mark.parametrize("name", [b"iCCP", b"tEXt", b"pHYs", b"gAMA"])
def test_a_part_that_pixels_do_not_need_may_be_damaged(tmp_path: Path, name: bytes) -> None:
    photo = read_photo(io.BytesIO(png(damaged(chunk(name, b"spoiled\0\0\1\2")), PLACED[0])), "a.png")
    assert photo.getpixel((0, 0)) == 128
    assert save_photo(photo, tmp_path / "b.png", photo) == (f"unreadable {name.decode()} was left out",)
    assert name not in names((tmp_path / "b.png").read_bytes())
    assert PLACED[0] in (tmp_path / "b.png").read_bytes()


def test_a_damaged_header_or_length_is_refused_with_what_to_do() -> None:
    whole = png()
    for data in (whole[:30] + b"\0" + whole[31:], whole[:33] + b"\0\0\0\1" + whole[37:]):
        with pytest.raises(UsageError, match=r"a\.png: .*copy it again, or save it anew in a program that still shows it"):
            read_photo(io.BytesIO(data), "a.png")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_a_printer_s_profile_of_two_megabytes_is_read_and_written(tmp_path: Path, suffix: str) -> None:
    size = 2_000_000
    photo = smooth("RGB")
    photo.info["icc_profile"] = struct.pack(">I", size) + WIDE[4:] + bytes(size - len(WIDE))
    save_photo(photo, tmp_path / f"a{suffix}", photo)
    again = read_photo(tmp_path / f"a{suffix}")
    save_photo(again, tmp_path / "b.png", again)
    assert read_photo(tmp_path / "b.png").info["icc_profile"] == photo.info["icc_profile"]


def test_many_profiles_are_unpacked_once_and_one_of_any_size_is_refused() -> None:
    packed = b"icc\0\0" + zlib.compress(WIDE)
    photo = read_photo(io.BytesIO(png(chunk(b"iCCP", packed), *[chunk(b"iCCP", packed)] * 3)), "a.png")
    assert (photo.info["icc_profile"], photo.info["unreadable"]) == (WIDE, "iCCP")
    with pytest.raises(UsageError, match="too large"):
        read_photo(io.BytesIO(png(chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(10_000_000))))), "a.png")
