"""What lies beside the main picture is left out by name, what XMP says about it goes with it, and everything else stays."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from anti_i2v.imaging.containers import jpeg_segments
from anti_i2v.imaging.extras.find import find_extras
from anti_i2v.imaging.metadata import tiff
from anti_i2v.imaging.metadata.xmp import read_properties
from anti_i2v.imaging.writing import save_photo
from tests.tiny.extras import (
    FACE,
    FILM,
    NAMESPACES,
    directory,
    jpeg,
    motion_photo,
    multi_picture,
    read,
    samsung,
    segment,
    ultra_hdr,
    xmp,
)
from tests.tiny.photos import WIDE, chunk, picture, png

SMALL = jpeg(size=(11, 7))
HDR = "the HDR layer (gain map) was left out"
MOTION = "the film of a motion photo was left out"
DEPTH = "the depth map was left out"


def protected(data: bytes, tmp_path: Path, suffix: str) -> tuple[list[str], bytes]:
    """The notes and the bytes of a file written like `data`."""
    photo = read(data)
    path = tmp_path / f"a{suffix}"
    return list(save_photo(picture("RGB"), path, photo)), path.read_bytes()


def claims(packet: bytes) -> set[str]:
    """The properties that a packet still has, but for the one that stays."""
    words = {uri: prefix for prefix, uri in NAMESPACES.items()}
    found = {f"{words[namespace]}:{name}" for namespace, name in read_properties(packet) if namespace in words}
    assert "dc:format" in found
    return found - {"dc:format"}


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_a_gain_map_and_its_claims_go(tmp_path: Path, suffix: str) -> None:
    notes, data = protected(ultra_hdr(), tmp_path, suffix)
    assert notes == [HDR]
    assert data.count(b"\xff\xd8\xff") == (suffix == ".jpg")
    again = read(data)
    assert claims(again.info["xmp"]) == set()
    assert b"Directory" not in data
    assert b"hdrgm:Version" not in data
    assert "extras" not in again.info


APPLE = xmp(
    'apdi:AuxiliaryImageType="urn:com:apple:photo:2020:aux:hdrgainmap"', "<HDRGainMap:HDRGainMapVersion>1</HDRGainMap:HDRGainMapVersion>"
)


@pytest.mark.parametrize(
    "data",
    [
        jpeg(packet=xmp('HDRGainMap:HDRGainMapVersion="1"')) + jpeg(packet=APPLE),
        multi_picture((0, jpeg(packet=APPLE))),
        multi_picture((0x050000, SMALL)),
        jpeg(segment(0xE2, b"urn:iso:std:iso:ts:21496:-1\0\0\0\0\0")) + SMALL,
        jpeg() + jpeg(segment(0xE2, b"urn:iso:std:iso:ts:21496:-1\0" + bytes(60))),
    ],
    ids=["Apple", "Apple in MPF", "ISO in MPF", "ISO in the photo", "ISO in the gain map"],
)
def test_gain_maps_of_other_makers_are_known_too(tmp_path: Path, data: bytes) -> None:
    notes, written = protected(data, tmp_path, ".jpg")
    assert notes == [HDR]
    assert b"GainMap:" not in written
    assert b"21496" not in written


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_film_and_its_claims_go(tmp_path: Path, suffix: str) -> None:
    notes, data = protected(motion_photo(), tmp_path, suffix)
    assert notes == [MOTION]
    assert claims(read(data).info["xmp"]) == set()
    assert FACE not in data


def test_other_words_of_the_same_vocabularies_stay(tmp_path: Path) -> None:
    packet = xmp('GCamera:BurstID="b" GCamera:MotionPhoto="1" OpCamera:Other="x"')
    _, data = protected(jpeg(packet=packet) + FILM, tmp_path, ".jpg")
    assert read(data).info["xmp"] == packet.replace(b' GCamera:MotionPhoto="1"', b"")


SAMSUNG = [
    ({"MotionPhoto_Data": FILM}, [MOTION]),
    ({"Image_UTC_Data": b"1234"}, ["data of a Samsung camera was left out"]),
    ({"DualShot_DepthMap_1": FACE, "SoundShot_Audio": b"hello"}, [DEPTH, "the sound recording was left out"]),
    ({"Image_UTC_Data": b"1", "MotionPhoto_Data": FILM}, ["data of a Samsung camera was left out", MOTION]),
]


@pytest.mark.parametrize(("blocks", "expected"), SAMSUNG)
def test_samsung_s_blocks_are_left_out_by_name(tmp_path: Path, blocks: dict[str, bytes], expected: list[str]) -> None:
    notes, data = protected(jpeg() + samsung(**blocks), tmp_path, ".jpg")
    assert notes == expected
    assert b"SEFT" not in data
    assert FACE not in data


@pytest.mark.parametrize(
    ("behind", "expected"),
    [
        ([], []),
        ([SMALL], ["a further picture was left out"]),
        ([SMALL, bytes(50), SMALL, SMALL], ["3 further pictures were left out"]),
        ([SMALL[:-2]], ["a further picture was left out"]),
        ([SMALL, FILM], [MOTION, "a further picture was left out"]),
        ([b"\0" * 5000, b"\xff" * 7, b"\r\n"], []),
        ([b"x" * 1000], ["unknown data behind the picture (up to 1 kB) was left out"]),
        ([b"x" * 1001], ["unknown data behind the picture (up to 10 kB) was left out"]),
        ([b"x" * 3_000_000], ["unknown data behind the picture (up to 10 MB) was left out"]),
        ([b"xyz", SMALL], ["a further picture was left out", "unknown data behind the picture (up to 1 kB) was left out"]),
    ],
)
@pytest.mark.parametrize("main", ["JPEG", "progressive", "PNG", "WEBP", "TIFF"])
def test_whatever_follows_a_picture_is_told_by_name(main: str, behind: Sequence[bytes], expected: Sequence[str], tmp_path: Path) -> None:
    file = io.BytesIO()
    picture("RGB").save(file, "JPEG" if main == "progressive" else main, **({"progressive": True} if main == "progressive" else {}))
    notes, _ = protected(file.getvalue() + b"".join(behind), tmp_path, ".png")
    assert notes == list(expected)


def test_the_preview_of_a_camera_is_told_from_pictures_of_their_own(tmp_path: Path) -> None:
    assert protected(multi_picture((0x010002, SMALL)), tmp_path, ".jpg")[0] == ["the preview behind the picture was left out"]
    assert protected(multi_picture((0x010002, SMALL), (0x020003, SMALL), (0x020003, SMALL)), tmp_path, ".jpg")[0] == [
        "the preview behind the picture was left out",
        "2 further pictures were left out",
    ]
    assert protected(multi_picture((0x020002, SMALL)), tmp_path, ".jpg")[0] == [DEPTH]


def test_pillow_s_own_mpo_is_read_alike(tmp_path: Path) -> None:
    file = io.BytesIO()
    picture("RGB").save(file, "MPO", save_all=True, append_images=[picture("RGB"), picture("RGB")])
    notes, data = protected(file.getvalue(), tmp_path, ".jpg")
    assert notes == ["2 further pictures were left out"]
    assert b"MPF" not in data


EXTENSION = segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 32 + struct.pack(">II", len(FACE), 0) + FACE)
SECOND_PACKET = "the second packet of XMP (extended XMP) was left out"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (jpeg(packet=xmp("", directory("Depth"))) + SMALL, [DEPTH]),
        (jpeg(packet=xmp('GDepth:Format="RangeInverse" GDepth:Data="AAAA"')), [DEPTH]),
        (jpeg(EXTENSION, packet=xmp('xmpNote:HasExtendedXMP="0" GDepth:Mime="image/png"')), [SECOND_PACKET, DEPTH]),
        (jpeg(packet=xmp("", "<Device:Container>x</Device:Container>" + directory("Depth"))) + SMALL, [DEPTH]),
        (
            jpeg(packet=xmp('GImage:Mime="image/jpeg" GImage:Data="AAAA"')),
            ["further pictures were left out"],
        ),
        (jpeg(EXTENSION), [SECOND_PACKET]),
        (jpeg(packet=xmp('hdrgm:Version="1.0"')), ["XMP about the HDR layer (gain map), which the file does not hold, was left out"]),
    ],
    ids=["container", "in XMP", "in extended XMP", "dynamic depth", "picture", "extension", "claim alone"],
)
def test_depth_maps_and_pictures_in_xmp_go_with_what_it_says_of_them(tmp_path: Path, data: bytes, expected: list[str]) -> None:
    notes, written = protected(data, tmp_path, ".jpg")
    assert notes == expected
    assert claims(read(written).info.get("xmp", xmp())) == set()
    assert FACE not in written


def test_segments_that_nobody_reads_are_told(tmp_path: Path) -> None:
    data = jpeg(segment(0xE4, FACE), segment(0xEA, b"x"), segment(0xE0, b"JFXX\0\x10"), segment(0xEC, b"Ducky\0"), segment(0xE4, b"y"))
    notes, written = protected(data, tmp_path, ".jpg")
    assert notes == ["unknown data (segment APP4) was left out", "unknown data (segment APP10) was left out"]
    assert FACE not in written
    boxes = b"JP\0\1\0\0\0\1\0\0\0\x40jumb" + FACE
    assert protected(jpeg(segment(0xEB, boxes)), tmp_path, ".jpg")[0] == ["unknown data (segment APP11) was left out"]
    (note,) = protected(jpeg(segment(0xEB, boxes + b"c2pa"), segment(0xEB, boxes)), tmp_path, ".jpg")[0]
    assert "Content Credentials" in note


def test_pictures_and_layers_of_a_tiff_and_chunks_of_png_and_webp_are_told(tmp_path: Path) -> None:
    file = io.BytesIO()
    picture("RGB").save(file, "TIFF")
    below = tiff.Entry(tiff.SUB_DIRECTORIES, 4, 1, b"", (tiff.Entry(0x0100, 3, 1, b"\1\0"),))
    tiff.add_tags(file, [below, tiff.Entry(37724, 7, len(FACE), FACE)])
    notes, data = protected(file.getvalue(), tmp_path, ".tif")
    assert notes == ["a further picture was left out", "the layers were left out"]
    assert FACE not in data
    assert protected(png(chunk(b"gmAP", b"x"), chunk(b"gdAT", FACE)), tmp_path, ".png")[0] == [HDR]
    file = io.BytesIO()
    picture("RGB").save(file, "WEBP", icc_profile=WIDE)
    whole = file.getvalue() + b"TEST" + struct.pack("<I", len(FACE)) + FACE
    whole = whole[:4] + struct.pack("<I", len(whole) - 8) + whole[8:]
    assert protected(whole, tmp_path, ".webp")[0] == ["unknown data (chunk of a WebP) was left out"]


def test_a_jpeg_ends_where_it_ends_and_not_at_the_first_bytes_that_look_so() -> None:
    """Between the scans of a progressive JPEG lie tables, which may hold any bytes."""
    file = io.BytesIO()
    picture("RGB").save(file, "JPEG", progressive=True)
    data = file.getvalue()
    at = data.index(b"\xff\xda", data.index(b"\xff\xda") + 2)
    data = data[:at] + segment(0xFE, b"a comment \xff\xd9 \xff\xd8\xff") + b"\xff\xff\xff" + data[at:] + b"more"
    assert list(jpeg_segments(io.BytesIO(data)))[-1] == (b"\xd9", len(data) - 4, 0)
    assert find_extras(io.BytesIO(data[:-4]), "JPEG") == ()


@pytest.mark.timeout(60)  # a second or two in linear time, hours in quadratic
@pytest.mark.parametrize(
    "piece", [b"\xff\xd8\xff\xe0\0\2", b"\xff\xd8\xff\xfe\xff\xff", b"\xff\xd8\xff\xda\0\2", b"\0\0\0\x08ftyp", b"ftyp", b"\xff\xda\0\2"]
)
def test_a_million_starts_of_pictures_take_no_time(piece: bytes) -> None:
    data = io.BytesIO(jpeg() + piece * 1_000_000)
    assert find_extras(data, "JPEG")


def test_a_text_that_calls_itself_extras_is_a_text(tmp_path: Path) -> None:
    notes, _ = protected(png(chunk(b"tEXt", b"extras\0nonsense")), tmp_path, ".png")
    assert notes == []


def test_every_photo_is_still_one_picture() -> None:
    for data in (ultra_hdr(), motion_photo(), multi_picture((0, SMALL))):
        with Image.open(io.BytesIO(data)) as expected:
            assert read(data).tobytes() == expected.convert("RGB").tobytes()
