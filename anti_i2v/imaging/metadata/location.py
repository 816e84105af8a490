"""Where a photo was taken: what `--strip-gps` removes, in each kind of metadata.

* EXIF: the GPS directory, and the maker note, in which some makers write the name of the place.
* XMP: every property whose name begins with GPS, whatever its namespace (`exif:GPSLatitude`, a drone's `GpsLongitude`) and a
  drone's altitudes; latitude and longitude of the W3C's `geo` vocabulary; and the places of the IPTC Photo Metadata Standard:
  `photoshop:City`, `State` and `Country`, `Iptc4xmpCore:Location` and `CountryCode`, `Iptc4xmpExt:LocationCreated` and
  `LocationShown`.
* IPTC's older datasets of record 2: content location (26, 27), city (90), sublocation (92), state (95), country (100, 101).
* Texts in a PNG that ImageMagick copied from EXIF (`exif:GPS…`).

Titles, captions and keywords stay, although people write places there.
"""

from __future__ import annotations

DATASETS = frozenset({26, 27, 90, 92, 95, 100, 101})
PROPERTIES = {
    "http://ns.adobe.com/photoshop/1.0/": {"City", "State", "Country"},
    "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/": {"Location", "CountryCode"},
    "http://iptc.org/std/Iptc4xmpExt/2008-02-29/": {"LocationCreated", "LocationShown"},
    "http://www.w3.org/2003/01/geo/wgs84_pos#": {"lat", "long", "alt", "lat_long", "location"},
    "http://www.dji.com/drone-dji/1.0/": {"AbsoluteAltitude", "RelativeAltitude"},
}


def is_location_property(namespace: str, name: str) -> bool:
    """Whether an XMP property says where a photo was taken."""
    return name.lower().startswith("gps") or name in PROPERTIES.get(namespace, ())


def is_location_dataset(record: int, number: int) -> bool:
    """Whether an IIM dataset does."""
    return record == 2 and number in DATASETS


def is_location_text(key: str) -> bool:
    """Whether a PNG's text does."""
    return key.lower().startswith(("exif:gps", "gps"))
