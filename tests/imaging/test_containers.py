"""The format of a file and what it contains, without decoding it."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anti_i2v.imaging.containers import C2PA_TAG, has_c2pa, kind
from anti_i2v.imaging.metadata import tiff
from anti_i2v.imaging.reading import read_photo
from anti_i2v.imaging.writing import save_photo
from tests.tiny.photos import picture

FORMATS = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "AVIF": ".avif", "TIFF": ".tif", "GIF": ".gif", "BMP": ".bmp", "PPM": ".ppm"}
BOX = struct.pack(">I", 64) + b"jumb" + struct.pack(">I", 40) + b"jumd" + bytes.fromhex("63327061001100108000 00aa00389b71") + b"\x03c2pa\0"


def plain(format: str) -> bytes:
    file = io.BytesIO()
    picture("RGB").save(file, format)
    return file.getvalue()


def signed(format: str, box: bytes = BOX) -> bytes:
    """A picture with a manifest where C2PA puts it."""
    data = plain(format)
    if format == "JPEG":
        segment = b"JP\0\1\0\0\0\1" + box
        return data[:2] + b"\xff\xeb" + struct.pack(">H", len(segment) + 2) + segment + data[2:]
    if format == "PNG":
        chunk = b"caBX" + box
        return data[:33] + struct.pack(">I", len(box)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:]
    if format == "WEBP":
        whole = data + b"C2PA" + struct.pack("<I", len(box)) + box + bytes(len(box) % 2)
        return whole[:4] + struct.pack("<I", len(whole) - 8) + whole[8:]
    if format == "TIFF":
        file = io.BytesIO(data)
        tiff.add_tags(file, [tiff.Entry(C2PA_TAG, 7, len(box), box)])
        return file.getvalue()
    uuid = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
    return data + struct.pack(">I", 24 + len(box)) + b"uuid" + uuid + box


@pytest.mark.parametrize("format", FORMATS)
def test_the_first_bytes_tell_the_format(format: str) -> None:
    assert kind(plain(format)[:64]) == format


def test_apple_and_nokia_brands_are_heic_and_unknown_ones_nothing() -> None:
    assert kind(struct.pack(">I", 24) + b"ftypheic\0\0\0\0mif1heic") == "HEIF"
    assert kind(struct.pack(">I", 28) + b"ftypmif1\0\0\0\0mif1miafavif") == "AVIF"
    assert kind(struct.pack(">I", 24) + b"ftypisom\0\0\0\0isomiso2") is None
    for head in (b"", b"%!PS-Adobe", b"<svg", b"RIFF\0\0\0\0AVI LIST", b"\0" * 64):
        assert kind(head) is None


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_content_credentials_are_detected_and_their_loss_is_reported(tmp_path: Path, format: str) -> None:
    data, path = signed(format), tmp_path / f"a{FORMATS[format]}"
    path.write_bytes(data)
    assert has_c2pa(data)
    assert has_c2pa(path)
    assert not has_c2pa(plain(format))
    photo = read_photo(path)
    assert photo.info["c2pa"] is True
    (note,) = save_photo(picture("RGB"), tmp_path / f"b{FORMATS[format]}", photo)
    assert note == "Content Credentials (C2PA), which sign the pixels as they were, were lost"
    assert not has_c2pa(tmp_path / f"b{FORMATS[format]}")


def test_other_boxes_in_the_same_places_are_no_credentials() -> None:
    assert not has_c2pa(signed("JPEG", BOX.replace(b"c2pa", b"jp36")))
    assert not has_c2pa(plain("AVIF") + struct.pack(">I", 24) + b"uuid" + bytes(16))


def test_garbage_has_no_credentials() -> None:
    rng = np.random.default_rng(0)
    for format in ("JPEG", "PNG", "WEBP", "AVIF", "TIFF"):
        data = signed(format)
        for end in range(0, len(data), 7):
            assert has_c2pa(data[:end]) in (True, False)
            assert has_c2pa(data[:end] + rng.bytes(64)) in (True, False)
    assert not has_c2pa(b"")
    assert not has_c2pa(b"\xff\xd8\xff\xe1\0\0")  # a segment shorter than its own length
    assert not has_c2pa(b"\0\0\0\x10ftypavif\0\0\0\0" + b"\0\0\0\1uuid" + b"\xff" * 8)  # a box longer than any file


@pytest.mark.parametrize(("options", "lossless"), [({"lossless": True}, True), ({"quality": 80}, False)])
def test_a_webp_tells_whether_it_is_lossless_also_behind_a_profile(options: dict[str, object], lossless: bool) -> None:
    file = io.BytesIO()
    picture("RGBA").save(file, "WEBP", icc_profile=b"profile", **options)
    assert read_photo(file).info["lossless"] is lossless


def test_a_picture_of_a_hundred_thousand_blocks_is_left_to_the_decoder() -> None:
    empty = struct.pack(">I", 0) + b"teSt" + struct.pack(">I", zlib.crc32(b"teSt"))
    data = signed("PNG")
    assert not has_c2pa(data[:33] + empty * 100_000 + data[33:])


def test_an_avif_of_ten_bits_is_detected() -> None:
    file = io.BytesIO()
    picture("RGB").save(file, "AVIF")
    data = bytearray(file.getvalue())
    at = data.index(b"av1C") + 6
    assert "reduced_from_bits" not in read_photo(io.BytesIO(bytes(data))).info
    data[at] |= 0x40
    from anti_i2v.imaging.reading import _avif_bits

    assert _avif_bits(io.BytesIO(bytes(data))) == 10
    assert Image.open(file).mode == "RGB"


def test_impossible_sizes_do_not_stop_a_photo(tmp_path: Path) -> None:
    jpeg = plain("JPEG")
    segments = [jpeg[:2] + b"\xff\xeb" + struct.pack(">H", size) + jpeg[2:] for size in (0, 1)]
    for data in (*segments, plain("AVIF") + struct.pack(">I", 5) + b"uuid"):
        (tmp_path / "a").write_bytes(data)
        assert read_photo(tmp_path / "a").size == (17, 12)


@pytest.mark.timeout(60)  # milliseconds; minutes if every segment is searched to the end of the file
def test_a_segment_of_no_size_is_not_the_whole_file() -> None:
    jpeg = plain("JPEG")
    assert not has_c2pa(jpeg[:2] + b"\xff\xeb\0\1" * 20_000 + jpeg[2:] + bytes(2**25))
