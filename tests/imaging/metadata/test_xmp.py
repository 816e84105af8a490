"""XMP is edited where it lies: what is not meant stays byte for byte, and no stranger's XML does harm."""

from __future__ import annotations

from xml.sax.saxutils import quoteattr

import pytest

from anti_i2v.imaging.metadata.xmp import EMPTY, Description, UnreadableError, edit, quote, read_properties, strip_padding
from tests.tiny.photos import XMP

DC, EXIF = "http://purl.org/dc/elements/1.1/", "http://ns.adobe.com/exif/1.0/"
NEW = Description("q", "http://example.org/q/", {"Word": 'a "quoted" <word> & more\x00'})
RDF = 'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'


def nothing(namespace: str, name: str) -> bool:
    return False


def test_values_are_found_as_attributes_and_as_elements() -> None:
    found = read_properties(XMP)
    assert found[EXIF, "GPSLatitude"] == "38,43N"
    assert found[EXIF, "GPSLongitude"] == "9,8W"
    assert found["http://ns.adobe.com/photoshop/1.0/", "Credit"] == "Zoë"


def test_what_is_added_comes_at_the_end_and_all_else_stays() -> None:
    new = edit(XMP, nothing, [NEW])
    at = XMP.index(b"</rdf:RDF>")
    assert new.startswith(XMP[:at])
    assert new.endswith(XMP[at:])
    assert read_properties(new)["http://example.org/q/", "Word"] == 'a "quoted" <word> & more?'
    assert edit(new, lambda namespace, name: namespace == NEW.namespace, [NEW]).count(b"q:Word") == 1


def test_what_is_unwanted_goes_whether_attribute_or_element_and_nothing_else() -> None:
    new = edit(XMP, lambda namespace, name: namespace == EXIF)
    assert new == XMP.replace(b' exif:GPSLatitude="38,43N"', b"").replace(b"<exif:GPSLongitude>9,8W</exif:GPSLongitude>", b"")


def test_properties_are_identified_by_namespace_and_not_by_prefix() -> None:
    packet = (
        f"<rdf:RDF {RDF}><rdf:Description xmlns:exif='http://other/' xmlns:e='{EXIF}' "
        f"plain=\" e:GPSA='no' \" exif:GPSA='stays' e:GPSA = 'goes'>"
        f"<e:GPSB><rdf:Seq><rdf:li e:GPSC='inside'/></rdf:Seq></e:GPSB><GPSD xmlns='{EXIF}'/><exif:GPSE/></rdf:Description></rdf:RDF>"
    ).encode()
    new = edit(packet, lambda namespace, name: namespace == EXIF).decode()
    assert "plain=\" e:GPSA='no' \" exif:GPSA='stays'><exif:GPSE/></rdf:Description>" in new
    for gone in ("goes", "inside", "GPSD"):
        assert gone not in new


@pytest.mark.parametrize(
    "packet", [None, EMPTY, f"<rdf:RDF {RDF}/>".encode(), f"<r:RDF {RDF.replace(':rdf', ':r')} ></r:RDF>\0\0".encode()]
)
def test_empty_and_missing_packets_take_properties_too(packet: bytes | None) -> None:
    assert read_properties(edit(packet, nothing, [NEW]))["http://example.org/q/", "Word"].startswith("a ")


def test_a_description_that_has_nothing_left_goes_too() -> None:
    assert edit(edit(XMP, nothing, [NEW]), lambda namespace, name: namespace == NEW.namespace) == XMP


def test_the_subject_that_a_packet_names_is_kept() -> None:
    packet = f'<rdf:RDF {RDF}><rdf:Description rdf:about="uuid:1"/></rdf:RDF>'.encode()
    assert edit(packet, nothing, [NEW]).count(b'rdf:about="uuid:1"') == 2


HOSTILE = {
    "bomb": b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]><x>&b;</x>',
    "outside": b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><x/>',
    "deep": b"<a>" * 10**5 + b"</a>" * 10**5,
    "long": b"<a>" + b"x" * 2**23 + b"</a>",
    "cut": XMP[: len(XMP) // 2],
    "two roots": b"<a/><b/>",
    "latin": '<?xml version="1.0" encoding="latin-1"?><a>é</a>'.encode("latin-1"),
    "wide": "<a/>".encode("utf-16"),
    "no prefix": b"<x:xmpmeta/>",
    "empty": b"",
    "zeros": bytes(100),
}


@pytest.mark.timeout(60)  # milliseconds if entities are not expanded, for ever if they are
@pytest.mark.parametrize("packet", HOSTILE.values(), ids=HOSTILE)
def test_malformed_and_hostile_packets_are_refused_at_once(packet: bytes) -> None:
    with pytest.raises(UnreadableError):
        edit(packet, nothing, [NEW])
    with pytest.raises(UnreadableError):
        read_properties(packet)


def test_a_packet_without_rdf_has_no_place_for_properties() -> None:
    with pytest.raises(UnreadableError, match="rdf:RDF"):
        edit(b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>', nothing, [NEW])


def test_padding_goes_and_only_padding() -> None:
    padded = XMP.replace(b"\n<?xpacket end", b"\n" + b" " * 4000 + b"\n<?xpacket end")
    assert strip_padding(padded) == XMP
    assert strip_padding(b"<a> </a>") == b"<a> </a>"


def test_a_tag_ends_where_it_ends_whatever_the_text_behind_it_looks_like() -> None:
    packet = f"<rdf:RDF {RDF} xmlns:e='{EXIF}'><rdf:Description><e:GPSLatitude >x=\"y\"/>38,43N</e:GPSLatitude></rdf:Description></rdf:RDF>"
    new = edit(packet.encode(), lambda namespace, name: name.startswith("GPS"), [NEW])
    assert b"38,43N" not in new
    assert (EXIF, "GPSLatitude") not in read_properties(new)
    new = edit(f'<rdf:RDF {RDF} >x="y"/></rdf:RDF>'.encode(), nothing, [NEW])
    assert new.startswith(f'<rdf:RDF {RDF} >x="y"/>'.encode())
    assert read_properties(new)["http://example.org/q/", "Word"].startswith("a ")


@pytest.mark.timeout(60)  # milliseconds in linear time, minutes in quadratic
@pytest.mark.parametrize("tag", ["<a{}/>", "<a{}></a>", "<a b='c'{}/>", "<a b{}='c'/>", "<a></a{}>"])
def test_a_tag_of_nothing_but_blanks_takes_no_time(tag: str) -> None:
    packet = f"<rdf:RDF {RDF}>{tag.format(' ' * 150_000)}</rdf:RDF>".encode()
    assert edit(packet, nothing) == packet


@pytest.mark.parametrize("value", ["plain", 'say "a"', "it's", "'a' and \"b\"", "<a & b>", "a\tb\nc\rd", "é"])
def test_attributes_are_quoted_as_the_standard_library_does(value: str) -> None:
    assert quote(value) == quoteattr(value)
