"""Statements in metadata: the mark of protection, the statement against training, and removal of the place."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from anti_i2v.errors import UsageError
from anti_i2v.imaging.metadata import iptc, xmp
from anti_i2v.imaging.metadata.options import WriteOptions
from anti_i2v.imaging.metadata.statements import NAMESPACE, PLUS, PROHIBITED, VOCABULARY, Mark, find_source, read_mark
from anti_i2v.imaging.reading import read_photo
from anti_i2v.imaging.writing import save_photo
from tests.tiny.photos import IIM, XMP, chunk, exif, picture, png

MARK = Mark("portrait-generator", 8.0, "0f" * 32, "0.2.0")
ALL = WriteOptions(no_ai_training=True, mark=MARK, format="same")
CARRIERS = [".jpg", ".png", ".webp", ".avif", ".tif"]


def photo(**info: object) -> Image.Image:
    image = picture("RGB")
    image.info |= info  # type: ignore[arg-type]
    return image


def written(path: Path, image: Image.Image, saving: WriteOptions) -> Image.Image:
    assert save_photo(image, path, image, saving) == ()
    return read_photo(path)


@pytest.mark.parametrize("suffix", CARRIERS)
def test_mark_and_statement_against_training_are_added_to_existing_xmp(tmp_path: Path, suffix: str) -> None:
    plain = written(tmp_path / f"a{suffix}", photo(xmp=XMP), WriteOptions())
    assert read_mark(plain) is None
    again = written(tmp_path / f"a{suffix}", plain, ALL)
    assert read_mark(again) == MARK
    held = again.info["xmp"]
    assert xmp.read_properties(held)[PLUS, "DataMining"] == "http://ns.useplus.org/ldf/vocab/DMI-PROHIBITED-AIMLTRAINING"
    assert held.startswith(XMP[: XMP.index(b"</rdf:RDF>")])
    assert written(tmp_path / f"b{suffix}", again, ALL).info["xmp"] == held  # said once, in the same bytes


@pytest.mark.parametrize("suffix", CARRIERS)
def test_a_photo_without_xmp_gets_some(tmp_path: Path, suffix: str) -> None:
    again = written(tmp_path / f"a{suffix}", photo(), WriteOptions(mark=Mark("mist", 5.5)))
    assert read_mark(again) == Mark("mist", 5.5)


def test_a_new_mark_takes_the_place_of_the_old(tmp_path: Path) -> None:
    again = written(tmp_path / "a.png", written(tmp_path / "a.png", photo(), WriteOptions(mark=MARK)), WriteOptions(mark=Mark("other", 2)))
    assert read_mark(again) == Mark("other", 2)


@pytest.mark.parametrize(
    "held",
    [
        b"",
        b"<broken " + NAMESPACE.encode(),
        XMP,
        xmp.edit(None, lambda a, b: False, [Mark("a", 1).description()]).replace(b'"1"', b'"much"'),
    ],
)
def test_a_missing_and_a_broken_mark_count_as_no_mark(held: bytes) -> None:
    assert read_mark(photo(xmp=held)) is None


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("PROHIBITED", "PROHIBITED"),
        ("PROHIBITED-SEECONSTRAINT",) * 2,
        ("ALLOWED", "PROHIBITED-AIMLTRAINING"),
        ("PROHIBITED-GENAIMLTRAINING", "PROHIBITED-AIMLTRAINING"),
    ],
)
@pytest.mark.parametrize(
    "form", ['plus:DataMining="{}">', "><plus:DataMining>{}</plus:DataMining>", '><plus:DataMining rdf:resource="{}"/>']
)
def test_a_stricter_statement_stays_and_a_weaker_one_is_replaced(tmp_path: Path, before: str, after: str, form: str) -> None:
    inside = f'<rdf:Description xmlns:plus="{PLUS}" {form.format(VOCABULARY + before)}</rdf:Description></rdf:RDF>'
    again = written(tmp_path / "a.png", photo(xmp=XMP.replace(b"</rdf:RDF>", inside.encode())), WriteOptions(no_ai_training=True))
    assert xmp.read_properties(again.info["xmp"])[PLUS, "DataMining"] == VOCABULARY + after
    assert again.info["xmp"].count(b"DMI-") == 1


@pytest.mark.parametrize("suffix", CARRIERS)
def test_the_digest_of_the_source_is_found_without_decoding(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    again = written(path, photo(xmp=XMP, exif=exif()), WriteOptions(mark=Mark("mist", 5.5, source="0123456789abcdef" * 2)))
    assert find_source(io.BytesIO(path.read_bytes())) == "0123456789abcdef" * 2
    mark = read_mark(again)
    assert mark is not None
    assert mark.source == "0123456789abcdef" * 2
    written(path, photo(xmp=XMP), WriteOptions(mark=MARK))  # as before there were digests
    assert find_source(io.BytesIO(path.read_bytes())) == ""


def test_a_digest_is_found_where_a_large_file_begins_or_ends_and_hostile_ones_have_none() -> None:
    name, digest = NAMESPACE.encode(), b"0f" * 16
    mark, much = b'x:p="' + name + b'" p:Source="' + digest + b'"', bytes(3 * 2**20)
    for content in (mark + much, much + mark, mark.replace(b'="0', b">0").replace(b'f"', b"f<")):
        assert find_source(io.BytesIO(content)) == digest.decode()
    for content in (
        b"",
        name,
        name * 50_000,
        name + b":Source=" * 500_000,
        mark.upper(),
        mark[:-1],
        name + bytes(5000) + mark[60:],
        much + mark + much,
    ):
        assert find_source(io.BytesIO(content)) == ""


def test_malformed_xmp_stays_as_it_is_with_a_note_and_goes_with_the_place(tmp_path: Path) -> None:
    broken = photo(xmp=XMP[:-60])
    assert save_photo(broken, tmp_path / "a.jpg", broken) == ()
    (note,) = save_photo(broken, tmp_path / "a.jpg", broken, ALL)
    assert note == "unreadable XMP was kept, so the mark of protection and the word against AI training could not be added"
    assert read_photo(tmp_path / "a.jpg").info["xmp"] == XMP[:-60]
    (note,) = save_photo(broken, tmp_path / "a.jpg", broken, WriteOptions(strip_gps=True))
    assert "may tell the place" in note
    assert "xmp" not in read_photo(tmp_path / "a.jpg").info


def test_a_bmp_has_no_statement_and_a_jpeg_has_limited_space(tmp_path: Path) -> None:
    (note,) = save_photo(photo(), tmp_path / "a.bmp", photo(), ALL)
    assert note == "XMP with the mark of protection and the word against AI training, which BMP cannot hold, was left out"
    long = XMP.replace(b"image/jpeg", b"x" * 66000)
    (note,) = save_photo(photo(xmp=long), tmp_path / "a.jpg", photo(xmp=long), WriteOptions(mark=MARK))
    assert note == "XMP with the mark of protection, too long for JPEG, was left out"
    padded = XMP.replace(b"\n<?xpacket end", b" " * 66000 + b"\n<?xpacket end")
    assert read_mark(written(tmp_path / "a.jpg", photo(xmp=padded), WriteOptions(mark=MARK))) == MARK


@pytest.mark.parametrize("suffix", CARRIERS)
def test_the_place_is_gone_from_exif_xmp_and_iptc_and_everything_else_is_there(tmp_path: Path, suffix: str) -> None:
    image = photo(xmp=XMP, exif=exif(), photoshop={iptc.IIM: IIM, iptc.DIGEST: bytes(16)})
    plain = tmp_path / f"a{suffix}"
    save_photo(image, plain, image)
    assert b"38,43N" in plain.read_bytes()
    source = read_photo(plain)
    saved = tmp_path / f"b{suffix}"
    save_photo(source, saved, source, WriteOptions(strip_gps=True))
    again = read_photo(saved)
    for told in (b"38,43N", b"9,8W", b"Lisboa", struct.pack("<6I", 38, 1, 43, 1, 0, 1)):
        assert told not in saved.read_bytes()
    assert 34853 not in again.getexif()
    assert again.getexif()[0x010F] == "ACME"
    assert again.getexif().get_ifd(0x8769)[0x9003] == "2020:01:01 00:00:00"
    assert "Zoë".encode() in again.info["xmp"]
    if suffix in (".jpg", ".png", ".tif"):
        assert again.info["photoshop"] == {iptc.IIM: IIM[IIM.index(b"\x1c\x02\x78") :]}


def raw(name: str, data: bytes) -> bytes:
    """A text of a PNG as ImageMagick writes it."""
    return chunk(b"tEXt", f"Raw profile type {name}\0\n{name}\n{len(data):8}\n{data.hex()}\n".encode())


@pytest.mark.parametrize("name", ["exif", "app1", "APP1", "EXIF", "APP13", "icc"])
def test_raw_profiles_hide_neither_place_nor_thumbnail_however_they_are_called(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.png").write_bytes(png(raw(name, exif(thumbnail=b"\xff\xd8\xff\xdb the clean face \xff\xd9"))))
    source = read_photo(tmp_path / "a.png")
    assert source.getexif()[274] == 6
    assert save_photo(source, tmp_path / "b.png", source, WriteOptions(strip_gps=True)) == ()
    assert save_photo(source, tmp_path / "c.png", source) == ()
    stripped, whole = (tmp_path / "b.png").read_bytes().lower(), (tmp_path / "c.png").read_bytes().lower()
    latitude = struct.pack("<6I", 38, 1, 43, 1, 0, 1)
    assert latitude in whole
    for told in (latitude, latitude.hex().encode(), b"raw profile"):
        assert told not in stripped
    for shown in (b"the clean face", b"the clean face".hex().encode()):
        assert shown not in whole


def test_captions_in_a_raw_profile_of_another_case_are_captions(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(raw("APP13", iptc.HEAD + iptc.encode_resources({iptc.IIM: IIM, 1036: b"the clean face"}))))
    source = read_photo(tmp_path / "a.png")
    again = written(tmp_path / "b.png", source, WriteOptions(strip_gps=True))
    assert again.info["photoshop"] == {iptc.IIM: IIM[IIM.index(b"\x1c\x02\x78") :]}
    assert b"APP13" not in (tmp_path / "b.png").read_bytes()


def test_an_unknown_raw_profile_stays_unless_the_place_is_removed(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(raw("mystery", b"Lisboa")))
    source = read_photo(tmp_path / "a.png")
    assert written(tmp_path / "b.png", source, WriteOptions()).info["Raw profile type mystery"] == source.info["Raw profile type mystery"]
    (note,) = save_photo(source, tmp_path / "b.png", source, WriteOptions(strip_gps=True))
    assert note == "a raw profile of unknown kind, which may tell the place, was left out"
    assert b"mystery" not in (tmp_path / "b.png").read_bytes()


def test_pictures_in_xmp_do_not_survive(tmp_path: Path) -> None:
    secret = b'<rdf:Description xmlns:xmp="http://ns.adobe.com/xap/1.0/"><xmp:Thumbnails>Y2xlYW4gZmFjZQ==</xmp:Thumbnails></rdf:Description></rdf:RDF>'
    again = written(tmp_path / "a.png", photo(xmp=XMP.replace(b"</rdf:RDF>", secret)), WriteOptions())
    assert again.info["xmp"] == XMP.replace(
        b"</rdf:RDF>", b'<rdf:Description xmlns:xmp="http://ns.adobe.com/xap/1.0/"></rdf:Description></rdf:RDF>'
    )
    broken = photo(xmp=XMP + secret)
    (note,) = save_photo(broken, tmp_path / "a.png", broken)
    assert note == "unreadable XMP, which may show the photo as it was, was left out"
    wide = photo(xmp=XMP.replace(b"</rdf:RDF>", secret).decode().encode("utf-16"))
    assert save_photo(wide, tmp_path / "a.jpg", wide) == (note,)
    assert "xmp" not in read_photo(tmp_path / "a.jpg").info


def test_the_same_photo_gives_the_same_bytes(tmp_path: Path) -> None:
    for suffix in [*CARRIERS, ".bmp"]:
        for name in "ab":
            image = photo(xmp=XMP, exif=exif(), dpi=(72, 72))
            save_photo(image, tmp_path / f"{name}{suffix}", image, ALL)
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_an_invalid_quality_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="quality is 0; give a whole number from 1 to 100"):
        save_photo(photo(), tmp_path / "a.jpg", photo(), WriteOptions(quality=0))
    assert list(tmp_path.iterdir()) == []


def test_the_statement_is_the_published_one() -> None:
    assert PROHIBITED == "http://ns.useplus.org/ldf/vocab/DMI-PROHIBITED-AIMLTRAINING"


REGIONS = """<mwg-rs:Regions rdf:parseType="Resource"><mwg-rs:AppliedToDimensions stDim:w="60" stDim:h="44" stDim:unit="pixel"/>
<mwg-rs:RegionList><rdf:Bag><rdf:li><rdf:Description mwg-rs:Name="Zoë &amp; Łuk" mwg-rs:Type="Face"><mwg-rs:Area stArea:x="0.5"
stArea:y="0.5" stArea:w="0.1" stArea:h="0.2" stArea:unit="normalized"/></rdf:Description></rdf:li></rdf:Bag></mwg-rs:RegionList>
</mwg-rs:Regions>""".encode()
SCHEMAS = b"""xmlns:mwg-rs="http://www.metadataworkinggroup.com/schemas/regions/" xmlns:stDim="http://ns.adobe.com/xap/1.0/sType/Dimensions#"
xmlns:stArea="http://ns.adobe.com/xmp/sType/Area#" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4" """


@pytest.mark.parametrize("suffix", CARRIERS)
def test_faces_and_their_names_stay_as_other_programs_wrote_them(tmp_path: Path, suffix: str) -> None:
    packet = XMP.replace(b"xmlns:dc=", SCHEMAS + b"xmlns:dc=").replace(b"<exif:GPSLongitude>", REGIONS + b"<exif:GPSLongitude>")
    again = written(tmp_path / f"a{suffix}", photo(xmp=packet), WriteOptions("same", strip_gps=True, no_ai_training=True, mark=MARK))
    assert REGIONS in again.info["xmp"]
    assert b'xmp:Rating="4"' in again.info["xmp"]
    assert b"GPS" not in again.info["xmp"]
    name, kind = (f"{{http://www.metadataworkinggroup.com/schemas/regions/}}{word}" for word in ("Name", "Type"))
    assert [node.get(name) for node in ElementTree.fromstring(again.info["xmp"]).iter() if node.get(kind)] == ["Zoë & Łuk"]


@pytest.mark.parametrize("suffix", [".jpg", ".tif", ".png"])
@pytest.mark.parametrize("caption", ["Zoë".encode("latin-1"), b"\x1b%G" + "Zoë 年".encode()])
def test_captions_keep_the_bytes_of_their_alphabet(tmp_path: Path, suffix: str, caption: bytes) -> None:
    datasets = b"\x1c\x02\x78" + struct.pack(">H", len(caption)) + caption
    assert written(tmp_path / f"a{suffix}", photo(photoshop={iptc.IIM: datasets}), WriteOptions()).info["photoshop"][iptc.IIM] == datasets
