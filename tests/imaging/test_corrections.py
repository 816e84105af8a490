"""Rare layouts of files that are read as they are meant, or refused; nothing is silently another picture."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from anti_i2v.errors import UsageError
from anti_i2v.imaging.reading import read_photo
from anti_i2v.imaging.writing import encode_photo
from anti_i2v.inference.planes import split
from tests.tiny.photos import chunk

DEEP = np.random.default_rng(0).integers(0, 2**16, (6, 8, 4), dtype=np.uint16)


def png(kind: int, values: np.ndarray, *chunks: bytes) -> io.BytesIO:
    """A PNG of 16 bits."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, kind, 0, 0, 0))
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def tiff(values: np.ndarray, photometric: int, planes: int = 1) -> io.BytesIO:
    """An uncompressed TIFF of (H, W, channels)."""
    height, width, channels = values.shape
    data = (values.transpose(2, 0, 1) if planes == 2 else values).tobytes()
    parts = channels if planes == 2 else 1
    lists = {258: [8 * values.itemsize] * channels, 273: [0] * parts, 279: [len(data) // parts] * parts}
    numbers = {256: [width], 257: [height], 259: [1], 262: [photometric], 277: [channels], 278: [height], 284: [planes]} | lists
    numbers |= {338: [0]} if (photometric, channels) == (2, 4) else {}  # what the fourth channel is, is not said
    start = 8 + 2 + 12 * len(numbers) + 4
    lists[273] = numbers[273] = [start + 4 * sum(map(len, lists.values())) + i * len(data) // parts for i in range(parts)]
    rows, beyond = b"", b""
    for tag in sorted(numbers):
        content = struct.pack(f"<{len(numbers[tag])}I", *numbers[tag])
        place = struct.pack("<I", start + len(beyond)) if len(content) > 4 else content
        rows += struct.pack("<HHI", tag, 4, len(numbers[tag])) + place
        beyond += content if len(content) > 4 else b""
    beyond = beyond.ljust(4 * sum(map(len, lists.values())), b"\0")
    head = b"II" + struct.pack("<HIH", 42, 8, len(numbers))
    return io.BytesIO(head + rows + bytes(4) + beyond + data)


def test_deep_grey_of_which_zero_is_white_is_not_a_negative() -> None:
    grey = DEEP[..., :1]
    for photometric, meant in ((1, grey[..., 0]), (0, 65535 - grey[..., 0])):
        photo = read_photo(tiff(grey, photometric), "a.tif")
        assert (photo.mode, photo.format) == ("I;16", "TIFF")
        assert np.array_equal(np.asarray(photo), meant)
        file = io.BytesIO()
        encode_photo(photo, file, ".tif", photo)
        assert np.array_equal(np.asarray(read_photo(file, "b.tif")), meant)


def test_sixteen_bits_in_separate_planes_are_refused_and_eight_are_read() -> None:
    with pytest.raises(UsageError, match=r"cannot read a\.tif: 16 bits per colour in separate planes; save it"):
        read_photo(tiff(DEEP[..., :3], 2, 2), "a.tif")
    eight = (DEEP[..., :3] >> 8).astype(np.uint8)
    assert np.array_equal(np.asarray(read_photo(tiff(eight, 2, 2), "a.tif")), eight)


@pytest.mark.parametrize(("photometric", "channels", "mode"), [(2, 3, "RGB"), (5, 4, "CMYK")])
def test_sixteen_bits_of_colours_become_eight_which_is_remembered(photometric: int, channels: int, mode: str) -> None:
    photo = read_photo(tiff(DEEP[..., :channels], photometric), "a.tif")
    assert (photo.mode, photo.info["reduced_from_bits"]) == (mode, 16)
    assert np.array_equal(np.asarray(photo), DEEP[..., :channels] >> 8)


def test_a_channel_that_is_left_out_is_said() -> None:
    file, photo = io.BytesIO(), read_photo(tiff((DEEP >> 8).astype(np.uint8), 2), "a.tif")
    assert photo.mode == "RGB"
    assert encode_photo(photo, file, ".tif", photo) == ("unreadable fourth channel was left out",)


def test_a_transparent_value_of_deep_grey_becomes_alpha() -> None:
    grey = DEEP[..., 0].copy()
    grey[0, :2] = 1000, 1001
    photo = read_photo(png(0, grey, chunk(b"tRNS", struct.pack(">H", 1000)), chunk(b"tEXt", b"Author\0Zo\xeb")), "a.png")
    assert (photo.mode, photo.format, photo.info["reduced_from_bits"]) == ("LA", "PNG", 16)
    pixels = np.asarray(photo).astype(int)
    assert np.array_equal(pixels[..., 1] == 0, grey == 1000)
    assert np.abs(pixels[..., 0] - grey / 257).max() <= 0.5
    file = io.BytesIO()
    encode_photo(photo, file, ".png", photo)
    assert read_photo(file, "b.png").info["Author"] == "Zoë"
    assert read_photo(png(0, grey), "a.png").mode == "I;16"


def test_a_transparent_colour_of_sixteen_bits_stays_transparent() -> None:
    colours = DEEP[..., :3].copy()
    colours[0, 0] = 1000, 2000, 3000
    photo = read_photo(png(2, colours, chunk(b"tRNS", struct.pack(">3H", 1000, 2000, 3000))), "a.png")
    changed = split(photo).join(np.ones((6, 8, 3), np.int8))
    assert changed.mode == "RGBA"
    assert np.argwhere(np.asarray(changed)[..., 3] == 0).tolist() == [[0, 0]]


def test_inverted_inks_of_a_jpeg_and_grey_of_a_webp_with_alpha_stay_what_they_are() -> None:
    file, inks = io.BytesIO(), Image.new("CMYK", (16, 16), (200, 10, 90, 40))
    inks.save(file, "JPEG", quality=100)  # with Adobe's marker, 255 being no ink
    assert b"Adobe" in file.getvalue()
    photo = read_photo(file, "a.jpg")
    again = io.BytesIO()
    encode_photo(photo, again, ".jpg", photo)
    assert np.abs(np.asarray(read_photo(again, "b.jpg")).astype(int) - np.asarray(inks)).max() <= 2
    webp = io.BytesIO()
    Image.merge("LA", (Image.linear_gradient("L"), Image.new("L", (256, 256), 9))).save(webp, "WEBP", lossless=True, exact=True)
    parts = split(read_photo(webp, "a.webp"))
    assert parts.stored.shape[2] == 1  # grey that stays grey
    assert (np.asarray(parts.join(np.ones(parts.stored.shape, np.int8)))[..., 3] == 9).all()
