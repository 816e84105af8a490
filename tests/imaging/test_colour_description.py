"""What a file says of its colours without a profile: kept where the format can hold it, named where it cannot, and seen through."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from anti_i2v.bulk.photo import protect_bytes
from anti_i2v.bulk.protector import PhotoProtector
from anti_i2v.bulk.request import Request
from anti_i2v.imaging.colour_description import read
from anti_i2v.imaging.reading import read_photo
from anti_i2v.imaging.writing import save_photo
from anti_i2v.inference.blocks import finding_block
from anti_i2v.inference.planes import split
from tests.tiny.photos import WIDE, chunk, smooth

HINTS = chunk(b"cLLI", struct.pack(">2I", 10_000_000, 2_000_000)) + chunk(b"mDCV", bytes(range(24)))
PQ, P3 = bytes((9, 16, 0, 1)), bytes((12, 13, 0, 1))
needs_avif = pytest.mark.skipif(not features.check("avif"), reason="the installed Pillow was built without AVIF")


def png(chunks: bytes, mode: str = "RGB", **options: object) -> bytes:
    """A PNG with chunks behind its header."""
    file = io.BytesIO()
    smooth(mode).save(file, "PNG", **options)
    return file.getvalue()[:33] + chunks + file.getvalue()[33:]


def avif(primaries: int, curve: int, matrix: int = 6, **options: object) -> bytes:
    """An AVIF whose box `nclx` says so."""
    file = io.BytesIO()
    smooth("RGB").save(file, "AVIF", quality=90, subsampling="4:4:4", **options)
    before, box, after = file.getvalue().partition(b"colrnclx")
    return before + box + struct.pack(">3H", primaries, curve, matrix) + after[6:]


def protected(content: bytes, suffix: str) -> tuple[bytes, tuple[str, ...]]:
    """Every pixel one step lighter, as `protect` writes it, with its notes."""

    def lighter(photo: Image.Image, _: float) -> Image.Image:
        parts = split(photo, finding_block(photo.size))
        return parts.join(np.ones(parts.stored.shape, np.int8))

    request = Request((), Path("out"), "lossless" if suffix == ".png" else "same", 1.0, mark=False)
    data, measurement = protect_bytes(PhotoProtector(lighter, "", "one step"), content, "a photo", suffix, request)
    assert measurement.lossy or measurement.steps == 1
    return data, measurement.notes


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "I;16"])
@pytest.mark.parametrize("points", [PQ, P3])
def test_code_points_and_hints_of_a_png_stay_and_colours_are_seen_through_them(points: bytes, mode: str) -> None:
    content = png(chunk(b"cICP", points) + HINTS, mode)
    data, notes = protected(content, ".png")
    assert notes == ()
    assert chunk(b"cICP", points) in data
    assert HINTS in data
    photo = read_photo(io.BytesIO(data))
    assert photo.info["cicp"] == points
    seen, plain = split(photo).colour.astype(int), split(smooth(mode)).colour.astype(int)
    if points == PQ:
        assert np.abs(seen - plain).max() > 20
        if mode in ("L", "I;16"):
            assert (seen[plain >= 149] == 255).all()  # beyond 203 cd/m²
    else:
        assert (np.abs(seen - plain).max() > 2) == (mode in ("RGB", "RGBA"))  # grey is grey in any primaries


def test_sixteen_bits_of_pq_become_eight_which_is_said() -> None:
    pixels = b"\0" + struct.pack(">3H", 148 * 257, 148 * 257, 148 * 257)
    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"cICP", PQ) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    assert split(read_photo(io.BytesIO(data))).colour[0, 0].tolist() == [255, 255, 255]
    assert protected(data, ".png")[1] == ("16 bits per colour became 8",)


def test_reserved_code_points_stay_and_a_note_names_them() -> None:
    odd = chunk(b"cICP", bytes((3, 99, 0, 1)))
    data, notes = protected(png(odd), ".png")
    assert odd in data
    assert notes == ("the code points of its colours, 3, 99, 0, 1, are reserved or unknown, and it was seen as sRGB",)
    data, notes = protected(png(chunk(b"cICP", b"\x09\x10")), ".png")
    assert b"cICP" not in data
    assert notes == ("unreadable description of its colours was left out",)


@needs_avif
@pytest.mark.parametrize("points", [PQ, P3, bytes((1, 1, 0, 1))])
def test_code_points_of_an_avif_stay_in_avif_and_png(points: bytes) -> None:
    content = avif(points[0], points[1])
    assert read_photo(io.BytesIO(content)).tobytes() == read_photo(io.BytesIO(avif(1, 13))).tobytes()
    data, notes = protected(content, ".avif")
    assert notes == ()
    assert b"colrnclx" + struct.pack(">3H", points[0], points[1], 6) in data  # the encoder's own matrix
    assert read_photo(io.BytesIO(data)).info["cicp"] == points
    plain = protected(avif(1, 13), ".avif")[0]
    change = np.asarray(read_photo(io.BytesIO(data))).astype(int) - np.asarray(read_photo(io.BytesIO(plain)))
    assert np.abs(change).mean() < 1  # the same picture, and not another matrix
    data, notes = protected(content, ".png")
    assert notes == ()
    assert chunk(b"cICP", points) in data


@needs_avif
def test_an_avif_of_another_matrix_is_decoded_by_it_and_encoded_by_the_encoder_s_own() -> None:
    content = avif(9, 16, 9)
    photo = read_photo(io.BytesIO(content))
    assert photo.info["cicp"] == PQ
    again = read_photo(io.BytesIO(protected(content, ".avif")[0]))
    assert again.info["cicp"] == PQ
    assert np.abs(np.asarray(again).astype(int) - np.asarray(photo) - 1).mean() < 2


@needs_avif
def test_light_levels_that_are_lost_are_named(tmp_path: Path) -> None:
    note = "light levels for displays of high dynamic range were left out"
    data = avif(9, 16)
    size = int.from_bytes(data[32:36], "big")
    assert data[36:40] == b"meta"
    box = struct.pack(">I4s2H", 12, b"clli", 1000, 200)
    meta = struct.pack(">I", size + len(box)) + data[36 : 32 + size] + box
    facts = read(io.BytesIO(data[:32] + meta + data[32 + size :]), "AVIF")
    assert facts == {"hints": True, "cicp": PQ}
    photo = read_photo(io.BytesIO(data))
    photo.info["hints"] = True
    for suffix in (".avif", ".png"):
        assert save_photo(photo, tmp_path / f"a{suffix}", photo) == (note,)
    deep = read_photo(io.BytesIO(png(HINTS)))
    assert save_photo(deep, tmp_path / "a.tif", deep) == (note,)
    assert save_photo(deep, tmp_path / "a.png", deep) == ()


@needs_avif
def test_the_profile_of_an_avif_comes_before_its_code_points() -> None:
    content = avif(9, 16, icc_profile=WIDE)
    assert "cicp" not in read_photo(io.BytesIO(content)).info
    assert "cicp" not in read_photo(io.BytesIO(avif(1, 13))).info  # says no more than none
    assert protected(avif(500, 16), ".png")[1] == ("unreadable description of its colours was left out",)


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".bmp", ".tif"])
def test_formats_without_code_points_and_gamma_name_what_is_lost(tmp_path: Path, suffix: str) -> None:
    for chunks, words in ((chunk(b"cICP", PQ), "by code points"), (chunk(b"gAMA", struct.pack(">I", 100_000)), "by gamma and primaries")):
        photo = read_photo(io.BytesIO(png(chunks)))
        (note,) = save_photo(photo, tmp_path / f"a{suffix}", photo)
        assert note.startswith(f"the description of its colours {words}, which ")
    for chunks in (b"", chunk(b"cICP", bytes((1, 13, 0, 1))), chunk(b"sRGB", b"\0") + chunk(b"gAMA", struct.pack(">I", 45455))):
        photo = read_photo(io.BytesIO(png(chunks)))
        assert save_photo(photo, tmp_path / f"a{suffix}", photo) == ()


def test_a_profile_of_colours_is_not_put_on_a_grey_png_and_its_loss_is_said(tmp_path: Path) -> None:
    file = io.BytesIO()
    smooth("L").save(file, "JPEG", icc_profile=WIDE)
    photo = read_photo(file)
    assert save_photo(photo, tmp_path / "a.png", photo) == ("the colour profile, which is not for these colours, was left out",)
    assert save_photo(photo, tmp_path / "a.jpg", photo) == ()
    assert read_photo(tmp_path / "a.jpg").info["icc_profile"] == WIDE


def test_heic_keeps_code_points_too() -> None:
    pytest.importorskip("pillow_heif", reason="HEIC needs the extra `heif`")
    photo, file = smooth("RGB"), io.BytesIO()
    photo.info["cicp"] = P3
    from anti_i2v.imaging.writing import encode_photo

    assert encode_photo(photo, file, ".heic", photo) == ()
    assert read_photo(file).info["cicp"] == P3
    assert np.abs(np.asarray(read_photo(file)).astype(int) - np.asarray(photo)).mean() < 2
