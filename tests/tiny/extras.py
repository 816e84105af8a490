"""Photo files with more in them than one picture, as phones and cameras write them."""

from __future__ import annotations

import io
import struct

from PIL import Image

from tests.tiny.photos import smooth

SIZE = (22, 14)
FACE = b"the clean face"
XMP_HEAD = b"http://ns.adobe.com/xap/1.0/\0"
NAMESPACES = {
    "hdrgm": "http://ns.adobe.com/hdr-gain-map/1.0/",
    "HDRGainMap": "http://ns.apple.com/HDRGainMap/1.0/",
    "apdi": "http://ns.apple.com/pixeldatainfo/1.0/",
    "Container": "http://ns.google.com/photos/1.0/container/",
    "Item": "http://ns.google.com/photos/1.0/container/item/",
    "GCamera": "http://ns.google.com/photos/1.0/camera/",
    "OpCamera": "http://ns.oplus.com/photos/1.0/camera/",
    "GDepth": "http://ns.google.com/photos/1.0/depthmap/",
    "GImage": "http://ns.google.com/photos/1.0/image/",
    "Device": "http://ns.google.com/photos/dd/1.0/device/",
    "xmpNote": "http://ns.adobe.com/xmp/note/",
    "dc": "http://purl.org/dc/elements/1.1/",
}


def xmp(attributes: str = "", inside: str = "") -> bytes:
    """A packet that says so, and that the photo is a JPEG, which always stays."""
    more = f" {attributes}" if attributes else ""
    names = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in NAMESPACES.items())
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" {names} dc:format="image/jpeg"{more}>{inside}'
        "</rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()


def directory(*semantics: str) -> str:
    """Google's list of what follows the main picture."""
    items = "".join(
        f'<rdf:li rdf:parseType="Resource"><Container:Item Item:Mime="image/jpeg" Item:Semantic="{name}" Item:Length="99"/></rdf:li>'
        for name in ("Primary", *semantics)
    )
    return f"<Container:Directory><rdf:Seq>{items}</rdf:Seq></Container:Directory>"


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def jpeg(*segments: bytes, packet: bytes = b"", size: tuple[int, int] = SIZE, **options: object) -> bytes:
    """A JPEG with more segments in its head."""
    file = io.BytesIO()
    smooth("RGB", size).save(file, "JPEG", **options)
    data = file.getvalue()
    packets = (segment(0xE1, XMP_HEAD + packet),) if packet else ()
    return data[:20] + b"".join((*packets, *segments)) + data[20:]


def box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + name + content


FILM = box(b"ftyp", b"mp42\0\0\0\0isommp42") + box(b"moov", bytes(24)) + box(b"mdat", FACE)


def samsung(**blocks: bytes) -> bytes:
    """Named blocks, and Samsung's directory of them."""
    data, starts = b"", []
    for name, content in blocks.items():
        starts.append((len(data), 8 + len(name) + len(content)))
        data += struct.pack("<HHI", 0, 0xA30, len(name)) + name.encode() + content
    rows = b"".join(struct.pack("<HHII", 0, 0xA30, len(data) - start, size) for start, size in starts)
    head = b"SEFH" + struct.pack("<II", 107, len(blocks)) + rows
    return data + head + struct.pack("<I", len(head)) + b"SEFT"


def multi_picture(*others: tuple[int, bytes]) -> bytes:
    """A JPEG with others behind it, of types that the Multi-Picture Format numbers."""
    entries = 16 * (len(others) + 1)
    head = b"II*\0\x08\0\0\0" + struct.pack("<HHHI4s", 3, 0xB000, 7, 4, b"0100") + struct.pack("<HHII", 0xB001, 4, 1, len(others) + 1)
    head += struct.pack("<HHIII", 0xB002, 7, entries, 50, 0)
    assert len(head) == 50
    length = len(jpeg(segment(0xE2, b"MPF\0" + head + bytes(entries))))
    rows, offset = struct.pack("<IIIHH", 0x030000, length, 0, 0, 0), length - 28  # 28: where the format counts from
    for kind, data in others:
        rows += struct.pack("<IIIHH", kind, len(data), offset, 0, 0)
        offset += len(data)
    return jpeg(segment(0xE2, b"MPF\0" + head + rows)) + b"".join(data for _, data in others)


def ultra_hdr() -> bytes:
    """An Android phone's photo with a gain map."""
    return jpeg(packet=xmp('hdrgm:Version="1.0"', directory("GainMap"))) + jpeg(size=(11, 7))


def motion_photo() -> bytes:
    """An Android phone's photo with a film."""
    claims = 'GCamera:MotionPhoto="1" GCamera:MotionPhotoVersion="1" GCamera:MotionPhotoPresentationTimestampUs="7" '
    claims += 'GCamera:MicroVideo="1" GCamera:MicroVideoOffset="99" OpCamera:OLivePhotoVersion="2" OpCamera:VideoLength="99"'
    return jpeg(packet=xmp(claims, directory("MotionPhoto"))) + FILM


def item_box(number: int, kind: bytes, hidden: bool = False) -> bytes:
    return box(b"infe", struct.pack(">B3sHH4s", 2, bytes([0, 0, hidden]), number, 0, kind) + b"\0")


def still(items: dict[int, bytes], references: bytes = b"", auxiliary: tuple[bytes, ...] = (), hidden: tuple[int, ...] = ()) -> bytes:
    """The boxes of a HEIC with these items, of which the first is the main picture; there are no pixels."""
    entries = b"".join(item_box(number, kind, number in hidden) for number, kind in items.items())
    properties = box(b"ipco", b"".join(box(b"auxC", bytes(4) + kind + b"\0") for kind in auxiliary))
    parts = box(b"pitm", struct.pack(">IH", 0, 1)) + box(b"iinf", struct.pack(">IH", 0, len(items)) + entries)
    parts += box(b"iprp", properties) + box(b"iref", bytes(4) + references)
    return box(b"ftyp", b"heic\0\0\0\0mif1heic") + box(b"meta", bytes(4) + parts)


def reference(kind: bytes, source: int, *targets: int) -> bytes:
    return box(kind, struct.pack(f">HH{len(targets)}H", source, len(targets), *targets))


def read(data: bytes, name: str = "photo") -> Image.Image:
    from anti_i2v.imaging.reading import read_photo

    return read_photo(io.BytesIO(data), name)
