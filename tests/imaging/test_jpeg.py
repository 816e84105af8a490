"""JPEG files that are not as Pillow would write them: what they say about themselves stays as other programs read it."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest

from anti_i2v.imaging.containers import blocks
from anti_i2v.imaging.metadata import tiff
from anti_i2v.imaging.metadata.options import WriteOptions
from anti_i2v.imaging.reading import read_photo
from anti_i2v.imaging.writing import save_photo
from tests.tiny.photos import exif, smooth, text


def jpeg(*segments: tuple[int, bytes], **options: object) -> bytes:
    """A JPEG with more segments behind its first."""
    file = io.BytesIO()
    smooth("RGB").save(file, "JPEG", **options)
    more = b"".join(struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content for marker, content in segments)
    return file.getvalue()[:20] + more + file.getvalue()[20:]


def again(data: bytes, path: Path, options: WriteOptions = WriteOptions(format="same")) -> tuple[bytes, tuple[str, ...]]:  # noqa: B008
    """The bytes of the photo written again, and the notes."""
    photo = read_photo(io.BytesIO(data), "a.jpg")
    notes = save_photo(photo, path, photo, options)
    return path.read_bytes(), notes


def segments(data: bytes, marker: int) -> list[bytes]:
    return [data[at : at + size] for name, at, size in blocks(io.BytesIO(data), "JPEG") if name[0] == marker]


def test_exif_that_is_longer_than_a_segment_goes_on_in_the_next(tmp_path: Path) -> None:
    whole = exif(6) + bytes(range(256)) * 500  # 128 kB: three segments of at most 64
    parts = [whole[:60_000], b"Exif\0\0" + whole[60_000:120_000], b"Exif\0\0" + whole[120_000:]]
    written, notes = again(jpeg(*((0xE1, part) for part in parts)), tmp_path / "b.jpg")
    assert notes == ()
    found = segments(written, 0xE1)
    assert all(part.startswith(b"Exif\0\0") for part in found)
    assert b"".join(part[6:] for part in found) == whole[6:]
    assert read_photo(tmp_path / "b.jpg").getexif()[274] == 6


def test_a_second_exif_is_no_part_of_the_first_and_does_not_tell_the_place(tmp_path: Path) -> None:
    place = tiff.Entry(tiff.GPS, 4, 1, b"", (text(29, "2020:01:01 by the river"),))
    second = b"Exif\0\0" + tiff.encode_exif([text(271, "ACME"), place])
    data = jpeg((0xE1, b"Exif\0\0"), (0xE1, exif(3)), (0xE1, second))
    written, notes = again(data, tmp_path / "b.jpg", WriteOptions("same", strip_gps=True))
    assert notes == ("unreadable second EXIF was left out",)
    assert b"by the river" in data
    assert b"by the river" not in written
    assert read_photo(tmp_path / "b.jpg").getexif()[274] == 3


@pytest.mark.parametrize("density", [(0, 2, 1), (1, 300, 150), (2, 118, 118)])
def test_density_keeps_its_unit(tmp_path: Path, density: tuple[int, int, int]) -> None:
    data = bytearray(jpeg())
    data[13:18] = struct.pack(">BHH", *density)
    written, _ = again(bytes(data), tmp_path / "b.jpg")
    (first,) = segments(written, 0xE0)
    assert first[:5] == b"JFIF\0"
    assert struct.unpack(">BHH", first[7:12]) == density


def test_all_comments_stay(tmp_path: Path) -> None:
    written, notes = again(jpeg((0xFE, b"by the river"), (0xFE, "bei Zoë".encode())), tmp_path / "b.jpg")
    assert segments(written, 0xFE) == ["by the river\nbei Zoë".encode()]
    assert notes == ()


def test_a_photo_with_tables_beyond_8_bits_is_written_without_a_word(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    again(jpeg(qtables=[[300] * 64, [300] * 64]), tmp_path / "b.jpg")
    capfd.readouterr()  # what libjpeg said of the photo itself
    _, notes = again((tmp_path / "b.jpg").read_bytes(), tmp_path / "c.jpg")
    assert notes == ()
    assert capfd.readouterr() == ("", "")
    assert read_photo(tmp_path / "c.jpg").quantization[0] == [300] * 64  # type: ignore[attr-defined]
