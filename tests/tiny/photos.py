"""Pictures of a few pixels in every mode, and metadata of every kind to put beside them."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from anti_i2v.imaging.metadata import tiff

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 17, 4), dtype=np.uint8)
SMOOTH = np.random.default_rng(1).integers(60, 200, (4, 5, 4), dtype=np.uint8)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
WIDE = SRGB[:67] + b"\x01" + SRGB[68:]  # another intent: not the profile that a codec would put in by itself
GREY = SRGB[:16] + b"GRAY" + SRGB[20:]
CMYK = SRGB[:16] + b"CMYK" + SRGB[20:]

XMP = b"""<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:exif="http://ns.adobe.com/exif/1.0/"
  xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" photoshop:City="Lisboa" photoshop:Credit="Zo\xc3\xab" exif:GPSLatitude="38,43N">
 <exif:GPSLongitude>9,8W</exif:GPSLongitude><dc:format>image/jpeg</dc:format>
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""

IIM = b"".join(b"\x1c\x02" + struct.pack(">BH", number, len(text)) + text for number, text in ((90, b"Lisboa"), (120, b"By the river")))


def picture(mode: str) -> Image.Image:
    """Noise of size 17 × 12 in any mode."""
    rgb = Image.fromarray(PIXELS[..., :3])
    if mode == "I;16":
        return Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257)
    if mode == "LA":
        return Image.merge("LA", (Image.fromarray(PIXELS[..., 0]), Image.fromarray(PIXELS[..., 3])))
    return Image.fromarray(PIXELS) if mode == "RGBA" else rgb.convert(mode)


def smooth(mode: str, size: tuple[int, int] = (60, 44)) -> Image.Image:
    """Soft colours without extremes, which a lossy format keeps well."""
    whole = Image.merge("RGBA", [Image.fromarray(SMOOTH[..., i]).resize(size, Image.Resampling.BICUBIC) for i in range(4)])
    if mode == "I;16":
        return Image.fromarray(np.asarray(whole.convert("L")).astype(np.uint16) * 257 ^ 0x35)
    if mode == "P":
        return whole.convert("RGB").quantize(32)
    if mode == "LA":
        return Image.merge("LA", (whole.convert("L"), whole.getchannel("A")))
    return whole if mode == "RGBA" else whole.convert("RGB").convert(mode)


def text(tag: int, value: str) -> tiff.Entry:
    """An ASCII tag, in UTF-8 as everybody writes it."""
    data = value.encode() + b"\0"
    return tiff.Entry(tag, 2, len(data), data)


def directories(orientation: int = 6) -> tuple[tiff.Entry, ...]:
    """A camera's EXIF: maker, orientation, artist, a date with a maker note, and where it was."""
    inner = (text(0x9003, "2020:01:01 00:00:00"), tiff.Entry(0x927C, 7, 8, b"MAKER\0\1\2"))
    latitude = struct.pack("<6I", 38, 1, 43, 1, 0, 1)
    place = (text(1, "N"), tiff.Entry(2, 5, 3, latitude))
    return (
        text(0x010F, "ACME"),
        tiff.Entry(0x0112, 3, 1, struct.pack("<H", orientation)),
        text(0x013B, "Zoë"),
        tiff.Entry(tiff.EXIF, 4, 1, b"", inner),
        tiff.Entry(tiff.GPS, 4, 1, b"", place),
    )


def exif(orientation: int = 6, thumbnail: bytes = b"") -> bytes:
    """The same as JPEG holds it, with a thumbnail if asked."""
    data = bytearray(tiff.encode_exif(directories(orientation)))
    if thumbnail:
        first = tiff.Reader(io.BytesIO(bytes(data)))
        start = len(data)
        struct.pack_into("<I", data, first.directory(first.first).link_at, start)
        rows = [tiff.Entry(0x0201, 4, 1, struct.pack("<I", start + 30)), tiff.Entry(0x0202, 4, 1, struct.pack("<I", len(thumbnail)))]
        data += tiff.encode_directory(rows, start) + thumbnail
    return b"Exif\0\0" + bytes(data)


def exif_entries(photo: Image.Image) -> dict[str, Any]:
    """The EXIF of a picture, as values to compare."""
    source = tiff.Reader(io.BytesIO(photo.info["exif"].removeprefix(b"Exif\0\0")))
    entries = {entry.tag: entry for entry in source.entries(source.first)}
    return {entry.tag: entries[entry.tag] for entry in directories() if entry.tag in entries}


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(*chunks: bytes, size: tuple[int, int] = (1, 1)) -> bytes:
    """A grey PNG of one pixel, whatever size it claims to have, with more chunks."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IDAT", zlib.compress(b"\0\x80")) + chunk(b"IEND", b"")


def tiff_pages(*kinds: int, tag: int = 254, more: tuple[tiff.Entry, ...] = (), size: tuple[int, int] = (60, 44)) -> bytes:
    """A TIFF with a page of each kind, which a tag of it says; the first is the largest."""
    file = io.BytesIO()
    first, *others = (smooth("RGB", (size[0] // (n + 1), size[1] // (n + 1))) for n in range(len(kinds)))
    first.save(file, "TIFF", save_all=True, append_images=others)
    data = bytearray(file.getvalue())
    link_at = 4
    for kind in kinds:
        (at,) = struct.unpack_from("<I", data, link_at)
        (rows,) = struct.unpack_from("<H", data, at)
        end = at + 2 + 12 * rows
        table = [bytes(data[row : row + 12]) for row in range(at + 2, end, 12)] + [struct.pack("<HHIHH", tag, 3, 1, kind, 0)]
        new = len(data) + len(data) % 2
        table.sort(key=lambda row: row[1::-1])
        data += bytes(len(data) % 2) + struct.pack("<H", len(table)) + b"".join(table) + data[end : end + 4]
        struct.pack_into("<I", data, link_at, new)
        link_at = new + 2 + 12 * len(table)
    file = io.BytesIO(data)
    if more:
        tiff.add_tags(file, more)
    return file.getvalue()
