"""What is read and written, and what becomes of it: exact pixels, true metadata, names and streams of every kind."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anti_i2v.errors import UsageError
from anti_i2v.imaging.metadata import tiff
from anti_i2v.imaging.reading import read_photo
from anti_i2v.imaging.writing import save_photo
from tests.tiny.photos import IIM, XMP, chunk, exif, exif_entries, picture, png

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "I;16", "P", "1"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_png_and_tiff_are_lossless_in_every_mode_they_hold(tmp_path: Path, mode: str, suffix: str) -> None:
    image = picture(mode)
    save_photo(image, tmp_path / f"a{suffix}", image)
    again = read_photo(tmp_path / f"a{suffix}")
    assert again.mode == mode
    assert np.array_equal(np.asarray(again), np.asarray(image))
    assert [p.name for p in tmp_path.iterdir()] == [f"a{suffix}"]


@pytest.mark.parametrize(("suffix", "mode"), [(".webp", "RGB"), (".webp", "RGBA"), (".bmp", "RGB"), (".bmp", "L")])
def test_webp_and_bmp_are_lossless_too(tmp_path: Path, suffix: str, mode: str) -> None:
    image = picture(mode)
    save_photo(image, tmp_path / f"a{suffix}", image)
    assert np.array_equal(np.asarray(read_photo(tmp_path / f"a{suffix}")), np.asarray(image))


def test_a_print_profile_is_not_put_on_an_rgb_picture(tmp_path: Path) -> None:
    photo = picture("RGB")
    photo.info["icc_profile"] = bytes(16) + b"CMYK" + bytes(108)
    save_photo(photo, tmp_path / "a.png", photo)
    assert "icc_profile" not in read_photo(tmp_path / "a.png").info


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"old")
    with pytest.raises(UsageError, match="cannot write"):
        save_photo(picture("CMYK"), tmp_path / "a.png", picture("RGB"))
    assert (tmp_path / "a.png").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_phone_photo_with_a_second_picture_behind_it_is_one_photo(tmp_path: Path) -> None:
    first, second = picture("RGB"), picture("L").convert("RGB")
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[second])
    photo = read_photo(tmp_path / "a.jpg")
    assert (photo.format, photo.size) == ("MPO", (17, 12))


def test_16_bit_colour_is_marked_as_reduced(tmp_path: Path) -> None:

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixels = b"\0" + struct.pack(">3H", 65535, 32768, 0)
    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(png)
    photo = read_photo(tmp_path / "a.png")
    assert photo.mode == "RGB"
    assert photo.getpixel((0, 0)) == (255, 128, 0)
    assert photo.info["reduced_from_bits"] == 16


def test_the_content_counts_and_not_the_name(tmp_path: Path) -> None:
    picture("RGB").save(tmp_path / "a.jpg", "PNG")
    photo = read_photo(tmp_path / "a.jpg")
    assert (photo.format, photo.tobytes()) == ("PNG", picture("RGB").tobytes())


def test_a_stream_that_cannot_be_wound_back_is_read_too(tmp_path: Path) -> None:
    picture("RGB").save(tmp_path / "a.png")
    with subprocess.Popen(["cat", tmp_path / "a.png"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert read_photo(process.stdout, "stdin").size == (17, 12)  # type: ignore[arg-type]


def test_the_longest_name_that_the_file_system_allows_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("ü" * 125 + ".png")
    assert len(os.fsencode(path.name)) == 254
    save_photo(picture("L"), path, picture("L"))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_profiles_that_imagemagick_put_into_texts_become_what_they_are(tmp_path: Path) -> None:
    def raw(name: str, data: bytes) -> bytes:
        return chunk(b"tEXt", f"Raw profile type {name}\0\n{name}\n{len(data):8}\n{data.hex()}\n".encode())

    resources = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(IIM)) + IIM + bytes(len(IIM) % 2)
    (tmp_path / "a.png").write_bytes(png(raw("exif", exif(thumbnail=b"the clean face")), raw("xmp", XMP), raw("iptc", resources)))
    photo = read_photo(tmp_path / "a.png")
    assert photo.getexif()[274] == 6
    assert photo.info["xmp"] == XMP
    assert photo.info["photoshop"] == {0x0404: IIM}
    save_photo(photo, tmp_path / "b.png", photo)
    assert b"the clean face".hex().encode() not in (tmp_path / "b.png").read_bytes()
    assert b"eXIf" in (tmp_path / "b.png").read_bytes()
    assert read_photo(tmp_path / "b.png").info["photoshop"] == {0x0404: IIM}


def test_gamma_and_primaries_of_a_png_stay(tmp_path: Path) -> None:
    colours = (chunk(b"gAMA", struct.pack(">I", 100_000)), chunk(b"cHRM", struct.pack(">8I", *range(31270, 31278))))
    (tmp_path / "a.png").write_bytes(png(*colours))
    photo = read_photo(tmp_path / "a.png")
    save_photo(photo, tmp_path / "b.png", photo)
    for colour in colours:
        assert colour in (tmp_path / "b.png").read_bytes()


def test_orientation_that_only_xmp_tells_turns_no_file(tmp_path: Path) -> None:
    """Pillow believes it; viewers do not, and would show a file with such a new EXIF tag on its side."""
    turned = XMP.replace(b'rdf:about=""', b'rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"')
    for suffix in (".jpg", ".png", ".tif"):
        image = picture("RGB")
        image.info["xmp"] = turned
        save_photo(image, tmp_path / f"a{suffix}", image)
        photo = read_photo(tmp_path / f"a{suffix}")
        assert photo.size == (17, 12)
        save_photo(picture("RGB"), tmp_path / f"b{suffix}", photo)
        again = read_photo(tmp_path / f"b{suffix}")
        assert again.size == (17, 12)
        assert "exif" not in again.info or 0x0112 not in exif_entries(again)


def test_a_compressed_8_bit_tiff_is_not_taken_for_a_deep_one(tmp_path: Path) -> None:
    def offset(height: int) -> str:
        picture("RGB").resize((17, height)).save(tmp_path / "a.tif", compression="tiff_adobe_deflate")
        with Image.open(tmp_path / "a.tif") as image:
            return str(image.tile[0][3][-1])  # type: ignore[index]

    assert next(True for height in range(1, 500) if "16" in offset(height))  # Pillow tells it beside the mode
    assert "reduced_from_bits" not in read_photo(tmp_path / "a.tif").info


def tagged(*entries: tiff.Entry) -> Image.Image:
    """A TIFF with more tags, as it is read."""
    file = io.BytesIO()
    picture("RGB").save(file, "TIFF")
    tiff.add_tags(file, entries)
    return read_photo(file)


@pytest.mark.parametrize("orientation", [(), (tiff.Entry(0x0112, 3, 1, struct.pack("<H", 6)),)])
def test_xmp_that_a_tiff_calls_letters_keeps_its_bytes(tmp_path: Path, orientation: tuple[tiff.Entry, ...]) -> None:
    photo = tagged(tiff.Entry(700, 2, len(XMP) + 1, XMP + b"\0"), *orientation)
    assert photo.info["xmp"] == XMP
    assert save_photo(photo, tmp_path / "a.tif", photo) == ()
    assert read_photo(tmp_path / "a.tif").info["xmp"] == XMP
    assert tagged(tiff.Entry(700, 3, 2, bytes(4)), *orientation).size == (17, 12)  # numbers are none


def test_captions_of_a_tiff_may_end_in_zeros_and_lose_those_that_fill_its_words() -> None:
    caption = b"\x1c\x02\x78\0\5ab\0\0\0"
    for held, read in ((caption, caption), (caption + bytes(2), caption), (IIM + b"?\0", IIM + b"?\0")):
        assert tagged(tiff.Entry(33723, 7, len(held), held)).info["photoshop"] == {0x0404: read}


def test_oversized_resources_are_dropped_with_a_note_and_captions_stay(tmp_path: Path) -> None:
    large = tiff.Entry(34377, 1, 2**24 + 1, bytes(2**24 + 1))
    for others, kept, words in (
        ([tiff.Entry(33723, 7, len(IIM), IIM)], {0x0404: IIM}, "part of the IPTC"),
        ([], None, "IPTC"),
    ):
        photo = tagged(large, *others)
        assert photo.info.get("photoshop") == kept
        assert save_photo(photo, tmp_path / "a.tif", photo) == (f"unreadable {words} was left out",)


def test_texts_of_a_png_keep_their_language_and_their_kind(tmp_path: Path) -> None:
    texts = (chunk(b"iTXt", b"Title\0\0\0de\0\xc3\x9cberschrift\0" + "Größe ∞".encode()), chunk(b"tEXt", b"Author\0Zo\xeb"))
    (tmp_path / "a.png").write_bytes(png(*texts))
    photo = read_photo(tmp_path / "a.png")
    save_photo(photo, tmp_path / "b.png", photo)
    for text in texts:
        assert text in (tmp_path / "b.png").read_bytes()


def test_texts_of_a_png_stay_as_they_are_compressed_and_in_every_language(tmp_path: Path) -> None:
    squeezed = zlib.compress(b"a long story " * 99)
    texts = [
        chunk(b"tEXt", b"Author\0Zo\xeb"),
        chunk(b"zTXt", b"Story\0\0" + squeezed),
        chunk(b"iTXt", b"Story\0\1\0pt\0hist\xc3\xb3ria\0" + squeezed),
        chunk(b"iTXt", b"Story\0\0\0de\0Geschichte\0" + "groß".encode()),
    ]
    (tmp_path / "a.png").write_bytes(png(*texts[:3])[:-12] + texts[3] + chunk(b"IEND", b""))
    photo = read_photo(tmp_path / "a.png")
    assert save_photo(photo, tmp_path / "b.png", photo) == ()
    data = (tmp_path / "b.png").read_bytes()
    places = [data.index(text) for text in texts]
    assert places == sorted(places)
    assert data.count(b"Story") == 3
