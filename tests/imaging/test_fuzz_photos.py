"""Damaged photos of every format: each is protected and can be read again, or is refused in one line; nothing else ever happens.

`ANTI_I2V_FUZZ=5000` runs so many cases of every kind instead of 145.
"""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, features
from PIL.PngImagePlugin import PngInfo

from anti_i2v.bulk.photo import protect_file
from anti_i2v.bulk.protector import PhotoProtector
from anti_i2v.bulk.request import Request
from anti_i2v.errors import UsageError
from anti_i2v.imaging.containers import has_c2pa, kind
from anti_i2v.imaging.metadata import iptc, tiff
from anti_i2v.imaging.metadata.statements import find_source
from anti_i2v.imaging.reading import read_photo
from anti_i2v.inference.blocks import finding_block
from anti_i2v.inference.planes import split
from tests.tiny import extras
from tests.tiny.photos import IIM, WIDE, XMP, chunk, directories, exif, smooth, tiff_pages

CASES = int(os.environ.get("ANTI_I2V_FUZZ", "145"))
SIZE = (22, 14)
REQUESTS = (Request((), Path("out"), mark=False), Request((), Path("out"), "same", 1.0, strip_gps=True, no_ai_training=True))
NUMBERS = (0, 1, 2, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFF)


def seeds() -> dict[str, bytes]:
    """Small photos with all that their format can say, by name and suffix."""
    texts = PngInfo()
    texts.add_text("Author", "Zoë", zip=True)
    texts.add_itxt("XML:com.adobe.xmp", XMP.decode())
    texts.add_text("Raw profile type iptc", iptc.to_profile({iptc.IIM: IIM}), zip=True)
    block = b"\xff\xed" + struct.pack(">H", len(block := iptc.HEAD + iptc.encode_resources({iptc.IIM: IIM})) + 2) + block
    every = {"exif": exif(thumbnail=b"\xff\xd8\xff\xdb small \xff\xd9"), "icc_profile": WIDE, "xmp": XMP}
    made: dict[str, tuple[str, str, dict[str, object]]] = {
        "phone.jpg": ("JPEG", "RGB", {**every, "extra": block, "comment": b"hello", "dpi": (72, 72)}),
        "progressive.jpg": ("JPEG", "L", {"progressive": True}),
        "print.jpg": ("JPEG", "CMYK", {}),
        "texts.png": ("PNG", "RGBA", {**every, "pnginfo": texts, "dpi": (72, 72)}),
        "palette.png": ("PNG", "P", {"transparency": 3}),
        "deep.png": ("PNG", "I;16", {}),
        "exact.webp": ("WEBP", "RGBA", {**every, "lossless": True}),
        "lossy.webp": ("WEBP", "RGB", {"quality": 80}),
        "photo.avif": ("AVIF", "RGB", every),
        "wide.avif": ("AVIF", "RGB", {}),
        "packed.tif": ("TIFF", "RGB", {"icc_profile": WIDE, "compression": "tiff_lzw"}),
        "plain.tif": ("TIFF", "I;16", {}),
        "plain.bmp": ("BMP", "RGB", {}),
        "old.gif": ("GIF", "P", {"transparency": 1, "comment": b"hello"}),
        "cinema.jp2": ("JPEG2000", "RGB", {}),
    }
    files: dict[str, bytes] = {}
    for name, (format, mode, options) in made.items():
        if features.check({"WEBP": "webp", "AVIF": "avif", "JPEG2000": "jpg_2000"}.get(format, "jpg")):
            file = io.BytesIO()
            smooth(mode, SIZE).save(file, format, **options)
            if name == "wide.avif":
                file = io.BytesIO(file.getvalue().replace(b"colrnclx\0\1\0\x0d", b"colrnclx\0\x09\0\x12"))
            if name == "packed.tif":
                below = tiff.Entry(
                    tiff.SUB_DIRECTORIES, 4, 1, b"", (tiff.Entry(0x0201, 4, 1, b"\x08\0\0\0"), tiff.Entry(0x0202, 4, 1, b"\x09\0\0\0"))
                )
                tiff.add_tags(file, [*directories(), below, tiff.Entry(700, 1, len(XMP), XMP)])
            files[name] = file.getvalue()
    packet = extras.xmp('GDepth:Data="AAAA"', extras.directory("Depth", "GainMap"))
    files["extras.jpg"] = extras.jpeg(packet=packet) + extras.jpeg() + b"more" + extras.FILM + extras.samsung(MotionPhoto_Data=extras.FILM)
    files["pictures.jpg"] = extras.multi_picture((0x050000, extras.jpeg()), (0x010002, extras.jpeg()))
    files["texts.png"] += extras.jpeg()
    if "photo.avif" in files:
        files["photo.avif"] += extras.box(b"mpvd", extras.FILM) + extras.box(b"sefd", extras.samsung(A=b"x"))
    long = exif() + bytes(66_000)
    more = b"".join(b"\xff\xe1" + struct.pack(">H", len(part) + 2) + part for part in (long[:65_000], long[:6] + long[65_000:], exif()))
    files["long.jpg"] = files["progressive.jpg"][:20] + more + files["progressive.jpg"][20:]
    chunks = (
        chunk(b"pHYs", bytes([0, 0, 0, 2, 0, 0, 0, 1, 0])),
        chunk(b"bKGD", bytes(6)),
        chunk(b"tIME", bytes(7)),
        chunk(b"oFFs", b"cut")[:-1] + b"?",
    )
    files["chunks.png"] = files["texts.png"][:33] + b"".join(chunks) + files["texts.png"][33:]
    files["copies.tif"] = tiff_pages(0, 1, 1, size=SIZE)
    files["bright.png"] = files["deep.png"][:33] + chunk(b"cICP", bytes((9, 16, 0, 1))) + chunk(b"cLLI", bytes(8)) + files["deep.png"][33:]
    files["keyed.png"] = files["deep.png"][:33] + chunk(b"tRNS", b"\x35\x35") + files["deep.png"][33:]
    return files


SEEDS = seeds()


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Up to four wounds, most of them in the first bytes, where the sizes and the directories are."""
    work = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        near = len(work) if rng.random() < 0.4 else min(len(work), 256)
        at = int(rng.integers(0, max(1, near)))
        match rng.integers(0, 7):
            case 0:
                work[at : at + 1] = rng.bytes(1)
            case 1:
                work[at : at + 8] = rng.bytes(8)
            case 2:
                order = "<>"[rng.integers(0, 2)]
                work[at : at + 4] = struct.pack(order + "I", int(rng.choice(NUMBERS)))
            case 3:
                work[at : at + 2] = struct.pack(">H", int(rng.choice(NUMBERS)) & 0xFFFF)
            case 4:
                del work[at : at + int(rng.integers(1, 40))]
            case 5:
                work[at:at] = work[: int(rng.integers(1, 200))]
            case _:
                if rng.random() < 0.3:
                    del work[int(rng.integers(0, len(work) + 1)) :]
    return summed(bytes(work)) if rng.random() < 0.7 else bytes(work)


def summed(data: bytes) -> bytes:
    """A PNG with its check sums made right again, so that damage gets beyond them."""
    if kind(data[:64]) != "PNG":
        return data
    work, at = bytearray(data), 8
    while at + 12 <= len(work):
        (size,) = struct.unpack_from(">I", work, at)
        end = at + 8 + size
        if end + 4 > len(work):
            break
        struct.pack_into(">I", work, end, zlib.crc32(bytes(work[at + 4 : end])))
        at = end + 4
    return bytes(work)


def is_one_line(error: UsageError, name: str) -> None:
    assert "\n" not in str(error)
    assert name in str(error)


def one_step(photo: Image.Image, epsilon: float) -> Image.Image:
    """Every pixel a step lighter: what protecting is without its network."""
    parts = split(photo, finding_block(photo.size))
    return parts.join(np.ones(parts.stored.shape, np.int8))


def survive(data: bytes, name: str, folder: Path) -> None:
    """From file to file as the command line does it, measured on the file read again; or refused in one line, with nothing left."""
    has_c2pa(data)
    find_source(io.BytesIO(data))
    source, out = folder / name, folder / "out"
    source.write_bytes(data)
    for request in REQUESTS:
        path = out / f"a{Path(name).suffix.replace('.gif', '.png').replace('.jp2', '.png')}"
        try:
            measurement = protect_file(PhotoProtector(one_step, "", "one step"), source, path, request)
        except UsageError as error:
            is_one_line(error, "" if out.exists() else name)
            assert not out.exists() or not any(out.iterdir())
            continue
        assert measurement.lossy or measurement.steps <= 1
        assert read_photo(path).size == read_photo(source).size
        assert list(out.iterdir()) == [path]
        path.unlink()


@pytest.fixture(autouse=True)
def _strict(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """No large pictures, no warnings, not a letter from a decoder's C code."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
@pytest.mark.parametrize("name", SEEDS)
def test_damaged_files_are_protected_or_refused(name: str, tmp_path: Path) -> None:
    survive(SEEDS[name], name, tmp_path)
    for case in range(CASES):
        data = damaged(SEEDS[name], np.random.default_rng((case, len(name))))
        try:
            survive(data, name, tmp_path)
        except BaseException as error:
            error.add_note(f"case {case} of {name}")
            raise


@pytest.mark.parametrize("name", SEEDS)
def test_whole_photos_survive_with_every_wish(name: str, tmp_path: Path) -> None:
    assert read_photo(io.BytesIO(SEEDS[name]), name).size == SIZE
    survive(SEEDS[name], name, tmp_path)


edits = st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=6)), min_size=1, max_size=4)


@settings(max_examples=CASES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(name=st.sampled_from(sorted(SEEDS)), edits=edits, keep=st.floats(0, 1))
def test_files_that_hypothesis_damages_are_protected_or_refused(
    tmp_path_factory: pytest.TempPathFactory, name: str, edits: list[tuple[float, bytes]], keep: float
) -> None:
    work = bytearray(SEEDS[name])
    for where, new in edits:
        at = int(where * len(work))
        work[at : at + len(new)] = new
    cut = len(work) if keep > 0.2 else int(keep * 5 * len(work))
    survive(summed(bytes(work[:cut])), name, tmp_path_factory.mktemp("fuzz"))
