"""What is promised of a photo that is protected and written in kind: size, mode, format, alpha, and all that it says about itself."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from anti_i2v.imaging.metadata.options import WriteOptions
from anti_i2v.imaging.reading import BACK, read_photo
from anti_i2v.imaging.writing import save_photo
from anti_i2v.protector import Protector
from tests.tiny.generator import tiny_network
from tests.tiny.photos import CMYK, GREY, IIM, WIDE, XMP, directories, exif, exif_entries, smooth

EPSILON = 4
SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "AVIF": ".avif", "TIFF": ".tif", "BMP": ".bmp"}
# Which mode a photo has after it was protected and written. Palettes and bits cannot hold a protected photo.
MODES = {
    "JPEG": {"RGB": "RGB", "L": "L", "CMYK": "CMYK"},
    "PNG": {"RGB": "RGB", "RGBA": "RGBA", "L": "L", "LA": "LA", "I;16": "I;16", "P": "RGB", "1": "L"},
    "WEBP": {"RGB": "RGB", "RGBA": "RGBA"},
    "AVIF": {"RGB": "RGB", "RGBA": "RGBA", "L": "L"},
    "TIFF": {"RGB": "RGB", "RGBA": "RGBA", "L": "L", "LA": "LA", "I;16": "I;16", "P": "RGB", "1": "L", "CMYK": "CMYK"},
    "BMP": {"RGB": "RGB", "RGBA": "RGBA", "L": "L", "P": "RGB", "1": "L"},
}
CASES = [(format, mode, after) for format, modes in MODES.items() for mode, after in modes.items()]
LOSSY = {"JPEG": {"quality": 90}, "AVIF": {"quality": 90, "subsampling": "4:4:4"}}
PROFILES = {"L": GREY, "LA": GREY, "I;16": GREY, "1": GREY, "CMYK": CMYK}


@pytest.fixture(scope="module")
def protector() -> Protector:
    return Protector(tiny_network(backbone="test_resnet", chroma_size=8, cutoff=8).eval())


def make(path: Path, format: str, mode: str, **also: object) -> Image.Image:
    """Write a photo with all metadata that Pillow can write, and read it back."""
    photo = smooth(mode)
    if format == "BMP" and mode == "RGBA":
        save_photo(photo, path, photo)  # Pillow cannot
        return read_photo(path)
    options: dict[str, object] = {"icc_profile": PROFILES.get(mode, WIDE), "dpi": (300, 300), "exif": exif(), **LOSSY.get(format, {})}
    if mode == "L":
        options.pop("subsampling", None)
    if format in ("TIFF", "AVIF"):  # Pillow encodes their EXIF anew
        plain = smooth(mode)
        plain.info = {"xmp": XMP, "photoshop": {0x0404: IIM}} | {k: options[k] for k in ("exif", "icc_profile", "dpi")}
        save_photo(plain, path, plain)
        return read_photo(path)
    if format == "PNG":
        from PIL.PngImagePlugin import PngInfo

        texts = PngInfo()
        texts.add_text("Author", "Zoë")
        texts.add_itxt("XML:com.adobe.xmp", XMP)
        options["pnginfo"] = texts
    elif format == "JPEG":
        block = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + len(IIM).to_bytes(4, "big") + IIM + bytes(len(IIM) % 2)
        options |= {"xmp": XMP, "extra": b"\xff\xed" + (len(block) + 2).to_bytes(2, "big") + block, "comment": b"by the river"}
    elif format != "BMP":
        options |= {"xmp": XMP, "lossless": True, "exact": True}
    photo.save(path, format, **(options | also))
    return read_photo(path)


def values(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


@pytest.mark.parametrize(("format", "mode", "after"), CASES)
def test_size_mode_format_and_budget(protector: Protector, tmp_path: Path, format: str, mode: str, after: str) -> None:
    if format in ("WEBP", "AVIF") and not features.check(format.lower()):
        pytest.skip(f"the installed Pillow was built without {format}")
    photo = make(tmp_path / f"a{SUFFIXES[format]}", format, mode)
    protected = protector.protect(photo, EPSILON)
    save_photo(protected, tmp_path / f"b{SUFFIXES[format]}", photo)
    again = read_photo(tmp_path / f"b{SUFFIXES[format]}")
    assert (again.format, again.size, again.mode) == (format, photo.size, after)
    assert photo.mode == ("L" if mode == "1" and format == "JPEG" else mode)
    change = np.abs(values(again) - values(photo.convert(after) if photo.mode != after else photo))
    if format in LOSSY:
        assert change.max() <= EPSILON + 12
        assert np.abs(values(again) - values(protected)).mean() < 2
    else:
        assert again.tobytes() == protected.tobytes()
        assert 0 < change.max() <= EPSILON * (257 if mode == "I;16" else 1)
    if after in ("RGBA", "LA"):
        assert change[..., -1].max() == 0  # alpha


@pytest.mark.parametrize(("format", "mode", "after"), CASES)
def test_what_a_photo_says_about_itself(protector: Protector, tmp_path: Path, format: str, mode: str, after: str) -> None:
    photo = make(tmp_path / f"a{SUFFIXES[format]}", format, mode)
    notes = save_photo(protector.protect(photo, EPSILON), tmp_path / f"b{SUFFIXES[format]}", photo)
    again = read_photo(tmp_path / f"b{SUFFIXES[format]}")
    assert notes == ()
    if format in ("JPEG", "PNG", "TIFF"):
        assert again.info["dpi"] == pytest.approx((300, 300), abs=0.01)
    if format == "BMP":  # nothing but pixels and resolution
        if mode != "RGBA":
            assert again.info["dpi"] == photo.info["dpi"] == pytest.approx((300, 300), abs=0.02)
        return
    assert again.info["xmp"] == photo.info["xmp"] == XMP
    assert list(exif_entries(again).values()) == list(directories())  # byte by byte: also letters beyond ASCII, maker notes
    assert again.getexif()[274] == 6
    if mode not in ("1", "P"):
        assert again.info["icc_profile"] == photo.info["icc_profile"] == PROFILES.get(mode, WIDE)
    if format in ("JPEG", "TIFF"):
        assert again.info["photoshop"][0x0404] == IIM
    if format == "JPEG":
        assert again.info["exif"] == photo.info["exif"]
        assert again.info["comment"] == b"by the river"
    if format == "PNG":
        assert again.info["Author"] == "Zoë"


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_stored_layout_and_orientation_stay(protector: Protector, tmp_path: Path, format: str, orientation: int) -> None:
    path = tmp_path / f"a{SUFFIXES[format]}"
    picture = smooth("RGB", (40, 24))
    picture.info["exif"] = exif(orientation)
    save_photo(picture, path, picture)
    photo = read_photo(path)
    assert (photo.size, photo.getexif()[274]) == ((40, 24), orientation)
    if format not in LOSSY:
        assert photo.tobytes() == picture.tobytes()
    protected = protector.protect(photo, EPSILON)
    save_photo(protected, path, photo)
    again = read_photo(path)
    assert (again.size, again.getexif()[274]) == ((40, 24), orientation)
    if format not in LOSSY:
        assert again.tobytes() == protected.tobytes()
    with Image.open(path) as shown:  # as a viewer opens it
        shown.load()
        assert shown.size == ((24, 40) if format == "TIFF" and orientation > 4 else (40, 24))
        if format == "TIFF" and orientation in BACK:
            assert shown.transpose(BACK[orientation]).tobytes() == protected.tobytes()


@pytest.mark.parametrize(("lossless", "wish", "exact"), [(True, "same", True), (False, "same", False), (False, "lossless", True)])
def test_webp_stays_lossy_or_lossless_with_same_and_becomes_lossless_else(tmp_path: Path, lossless: bool, wish: str, exact: bool) -> None:
    photo = make(tmp_path / "a.webp", "WEBP", "RGB", lossless=lossless, quality=80)
    save_photo(photo, tmp_path / "b.webp", photo, WriteOptions(format=wish))
    again = read_photo(tmp_path / "b.webp")
    assert again.info["lossless"] is exact
    assert (again.tobytes() == photo.tobytes()) is exact
    assert np.abs(values(again) - values(photo)).mean() < 2


def test_an_avif_is_not_exact_at_its_best_so_no_format_list_calls_it_lossless() -> None:
    from anti_i2v.imaging.writing import LOSSLESS

    photo, file = smooth("RGB"), io.BytesIO()
    photo.save(file, "AVIF", quality=100, subsampling="4:4:4")
    change = np.abs(values(read_photo(file)) - values(photo))
    assert 0 < change.max() <= 4
    assert ".avif" not in LOSSLESS


def jpegs() -> Iterator[tuple[str, dict[str, object]]]:
    yield "RGB", {"quality": 37}
    yield "RGB", {"qtables": [[7] * 64, [9] * 64, [9] * 64]}
    yield "RGB", {"qtables": [[5] * 64]}
    yield "L", {"quality": 80}


@pytest.mark.parametrize(("mode", "options"), jpegs())
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_jpeg_takes_each_component_s_own_table_and_size(tmp_path: Path, mode: str, options: dict[str, object], subsampling: int) -> None:
    smooth(mode).save(tmp_path / "a.jpg", "JPEG", subsampling=subsampling, **options)
    photo = read_photo(tmp_path / "a.jpg")
    save_photo(smooth(mode), tmp_path / "b.jpg", photo)
    tables, shapes = [], []
    for name in "ab":
        with Image.open(tmp_path / f"{name}.jpg") as image:
            tables.append([image.quantization[layer[3]] for layer in image.layer])  # type: ignore[attr-defined]
            shapes.append([layer[1:3] for layer in image.layer])  # type: ignore[attr-defined]
    assert tables[0] == tables[1]
    assert shapes[0] == shapes[1] or mode == "L"  # of one component the size means nothing
    assert mode == "L" or shapes[1][0] == {0: (1, 1), 1: (2, 1), 2: (2, 2)}[subsampling]
    save_photo(smooth(mode), tmp_path / "b.jpg", photo, WriteOptions(quality=100))
    with Image.open(tmp_path / "b.jpg") as image:
        assert image.quantization[0] == [1] * 64  # type: ignore[attr-defined]


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_progressive_jpeg_stays_so_and_of_the_same_size(protector: Protector, tmp_path: Path, mode: str) -> None:
    for progressive in (False, True):
        smooth(mode, (300, 200)).save(tmp_path / "a.jpg", progressive=progressive, quality=80)
        photo = read_photo(tmp_path / "a.jpg")
        assert save_photo(protector.protect(photo, EPSILON), tmp_path / "b.jpg", photo) == ()
        assert ("progressive" in read_photo(tmp_path / "b.jpg").info) is progressive
        assert (tmp_path / "b.jpg").stat().st_size < 1.2 * (tmp_path / "a.jpg").stat().st_size


def test_a_progressive_jpeg_of_nothing_but_noise_becomes_a_baseline_one(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8))
    noise.resize((8, 8)).save(tmp_path / "a.jpg", progressive=True, subsampling=0, quality=100)
    (note,) = save_photo(noise, tmp_path / "b.jpg", read_photo(tmp_path / "a.jpg"))
    assert note.startswith("a progressive JPEG became a baseline one")
    assert np.abs(values(read_photo(tmp_path / "b.jpg")) - values(noise)).max() < 10
    assert capfd.readouterr() == ("", "")


def test_a_jpeg_of_red_green_and_blue_stays_so(tmp_path: Path) -> None:
    smooth("RGB").save(tmp_path / "a.jpg", keep_rgb=True, quality=90)
    photo = read_photo(tmp_path / "a.jpg")
    save_photo(photo, tmp_path / "b.jpg", photo)
    again = read_photo(tmp_path / "b.jpg")
    assert again.info["adobe_transform"] == 0
    assert [layer[0] for layer in again.layer] == [*b"RGB"]  # type: ignore[attr-defined]
    assert again.quantization == photo.quantization  # type: ignore[attr-defined]
    assert np.abs(values(again) - values(photo)).max() <= 2


def test_colours_of_a_size_that_is_not_written_get_the_full_one(tmp_path: Path) -> None:
    smooth("RGB", (64, 64)).save(tmp_path / "a.jpg", subsampling=1)
    data = (tmp_path / "a.jpg").read_bytes()
    assert data.count(b"\x03\x01\x21\x00\x02\x11\x01") == 1
    (tmp_path / "a.jpg").write_bytes(data.replace(b"\x03\x01\x21\x00\x02\x11\x01", b"\x03\x01\x12\x00\x02\x11\x01"))  # 4:4:0
    photo = read_photo(tmp_path / "a.jpg")
    save_photo(photo, tmp_path / "b.jpg", photo)
    assert [layer[1:3] for layer in read_photo(tmp_path / "b.jpg").layer] == [(1, 1)] * 3  # type: ignore[attr-defined]


def test_heic_with_its_plug_in(protector: Protector, tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif", reason="HEIC needs the extra `heif`")
    photo = smooth("RGB")
    photo.info |= {"exif": exif(1), "xmp": XMP, "icc_profile": WIDE}
    save_photo(photo, tmp_path / "a.heic", photo)
    photo = read_photo(tmp_path / "a.heic")
    notes = save_photo(protector.protect(photo, EPSILON), tmp_path / "b.heic", photo)
    again = read_photo(tmp_path / "b.heic")
    assert (again.format, again.size, again.mode, notes) == ("HEIF", photo.size, "RGB", ())
    assert (again.info["xmp"], again.info["icc_profile"]) == (XMP, WIDE)
    assert list(exif_entries(again).values()) == list(directories(1))
    assert np.abs(values(again) - values(photo)).max() <= EPSILON + 12
