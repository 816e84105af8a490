"""HEIC and AVIF: pictures beside the main one are told by name.

Boxes are made by hand. The files are real: pillow-heif wrote them with a thumbnail (`thumbnails=[24]`), which in two of them was renamed to
an auxiliary picture afterwards (`thmb` to `auxl`, the colour profile to `auxC`).
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from anti_i2v.imaging.extras.find import find_extras
from anti_i2v.imaging.reading import read_photo
from anti_i2v.imaging.writing import save_photo
from tests.tiny.extras import FILM, box, read, reference, samsung, still, xmp
from tests.tiny.photos import directories, exif_entries, smooth

FILES = Path(__file__).parent / "files"
HDR, DEPTH, MOTION = "the HDR layer (gain map)", "the depth map", "the film of a motion photo"
APPLE, HEVC = b"urn:com:apple:photo:", b"urn:mpeg:hevc:2015:auxid:"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (still({1: b"hvc1"}), []),
        (still({1: b"grid", 2: b"hvc1", 3: b"hvc1", 4: b"Exif", 5: b"mime"}, reference(b"dimg", 1, 2, 3)), []),
        (still({1: b"hvc1", 2: b"hvc1"}, reference(b"thmb", 2, 1)), []),
        (still({1: b"hvc1", 2: b"hvc1"}, reference(b"auxl", 2, 1), (HEVC + b"1",)), []),  # transparency stays
        (still({1: b"hvc1", 2: b"hvc1"}, reference(b"auxl", 2, 1), (HEVC + b"2",)), [DEPTH]),
        (still({1: b"hvc1", 2: b"hvc1"}, reference(b"auxl", 2, 1), (APPLE + b"2020:aux:hdrgainmap",)), [HDR]),
        (still({1: b"hvc1", 2: b"hvc1"}, reference(b"auxl", 2, 1), (APPLE + b"2018:aux:portraiteffectsmatte",)), ["auxiliary pictures"]),
        (still({1: b"av01", 2: b"tmap", 3: b"av01"}, reference(b"dimg", 2, 1, 3), hidden=(3,)), [HDR]),
        (still({1: b"hvc1", 2: b"hvc1"}), ["a further picture"]),
        (still({1: b"hvc1", 2: b"hvc1", 3: b"jpeg"}), ["2 further pictures"]),
        (still({1: b"hvc1"}) + box(b"mpvd", FILM), [MOTION]),
        (still({1: b"hvc1"}) + FILM, [MOTION]),
        (still({1: b"hvc1"}) + box(b"sefd", samsung(MotionPhoto_Data=FILM)), [MOTION]),
        (still({1: b"hvc1"}) + box(b"sefd", samsung(Image_UTC_Data=b"1")), ["data of a Samsung camera"]),
        (still({1: b"hvc1"}) + box(b"test", b"x"), ["unknown data (box of a HEIC or AVIF)"]),
        (still({1: b"hvc1"}) + b"\xff" * 20 + b"x" * 20, ["unknown data behind the picture (up to 1 kB)"]),
        (still({1: b"hvc1"}) + bytes(40), []),
    ],
)
def test_what_lies_beside_the_main_picture_is_known(data: bytes, expected: list[str]) -> None:
    assert list(find_extras(io.BytesIO(data), "HEIF")) == expected


def test_damage_anywhere_ends_in_what_could_be_read() -> None:
    whole = still({1: b"grid", 2: b"hvc1", 3: b"hvc1"}, reference(b"dimg", 1, 2, 3), (HEVC + b"2",)) + box(b"sefd", samsung(A=b"x"))
    rng = np.random.default_rng(0)
    for at in range(len(whole)):
        for wound in (b"\0", b"\xff", rng.bytes(4)):
            find_extras(io.BytesIO(whole[:at] + wound + whole[at + len(wound) :]), "HEIF")
        find_extras(io.BytesIO(whole[:at]), "HEIF")


@pytest.mark.skipif(not features.check("avif"), reason="the installed Pillow was built without AVIF")
def test_the_film_of_an_avif_goes_with_what_xmp_says_of_it(tmp_path: Path) -> None:
    file = io.BytesIO()
    smooth("RGB").save(file, "AVIF", xmp=xmp('GCamera:MotionPhoto="1"'))
    photo = read(file.getvalue() + box(b"mpvd", FILM))
    assert save_photo(photo, tmp_path / "b.avif", photo) == (f"{MOTION} was left out",)
    again = read_photo(tmp_path / "b.avif")
    assert again.info["xmp"] == xmp("")
    assert "extras" not in again.info


@pytest.fixture
def heic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets HEIC be read by pi-heif, which is the decoder of pillow-heif without its encoder: only that one is under the GPL."""
    if "pillow_heif" not in sys.modules:
        monkeypatch.setitem(sys.modules, "pillow_heif", pytest.importorskip("pi_heif", reason="reading HEIC needs pi-heif"))


@pytest.mark.usefixtures("heic")
@pytest.mark.parametrize(
    ("name", "expected"),
    [("thumbnail", ()), ("gain_map", (f"{HDR} was left out",)), ("depth", (f"{DEPTH} was left out",))],
)
def test_heic_files_are_read_and_their_metadata_go_over(tmp_path: Path, name: str, expected: tuple[str, ...]) -> None:
    photo = read_photo(FILES / f"{name}.heic")
    assert (photo.format, photo.mode, photo.size) == ("HEIF", "RGB", (32, 48))  # turned upright by the decoder
    shown = smooth("RGB", (48, 32)).transpose(Image.Transpose.ROTATE_270)  # as orientation 6 says
    assert np.abs(np.asarray(photo).astype(int) - np.asarray(shown)).mean() < 8
    assert photo.info["xmp"] == xmp('hdrgm:Version="1.0"' if name == "gain_map" else "")
    assert save_photo(photo, tmp_path / "a.png", photo) == expected
    again = read_photo(tmp_path / "a.png")
    assert again.info["xmp"] == xmp("")
    assert list(exif_entries(again).values()) == list(directories(1))
    assert again.tobytes() == photo.tobytes()
