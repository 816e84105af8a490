"""What a photo file says beside its pixels, carried over to the protected file.

EXIF is copied byte for byte except for its embedded thumbnail, which is blanked: it shows the unprotected photo.
ICC profiles, XMP, resolution, comments and PNG texts are copied. Content Credentials (C2PA) are not: they sign
pixels that have changed.
"""

from __future__ import annotations

import struct

from PIL import Image, PngImagePlugin

EXIF_DIRECTORY, GPS_DIRECTORY = 34665, 34853
DIRECTORIES = (EXIF_DIRECTORY, GPS_DIRECTORY)
# TIFF keeps the layout of its pixels in the same list of tags; only those that describe the photo may be copied:
# document name, description, make, model, orientation, software, date, artist, host, XMP, copyright, IPTC, Photoshop.
DESCRIPTIVE = (269, 270, 271, 272, 274, 305, 306, 315, 316, 700, 33432, 33723, 34377, *DIRECTORIES)


def common(image: Image.Image, like: Image.Image) -> dict[str, object]:
    """The keyword arguments of `Image.save` that every format understands or ignores: ICC, resolution, comment, XMP.

    Args:
        image: The picture that will be written; a profile for another colour space than its own is left out.
        like: The photo that it came from.
    """
    kept: dict[str, object] = {}
    profile = like.info.get("icc_profile")
    # A CMYK profile on an RGB picture would wreck its colours: bytes 16–20 of a profile name its colour space.
    space = {"CMYK": b"CMYK", "1": b"GRAY", "L": b"GRAY", "LA": b"GRAY", "I;16": b"GRAY"}.get(image.mode, b"RGB ")
    fits = isinstance(profile, bytes) and profile[16:20] == space
    kept["icc_profile"] = profile if fits else None  # None, said aloud: Pillow would look into `image.info` else
    for key in ("dpi", "comment", "xmp"):
        if like.info.get(key):
            kept[key] = like.info[key]
    return kept


def exif(like: Image.Image) -> bytes:
    """EXIF as bytes, empty if there is none."""
    raw = like.info.get("exif")
    if isinstance(raw, bytes):
        return without_thumbnail(raw)
    tags = tiff_tags(like)
    return tags.tobytes() if tags else b""


def tiff_tags(like: Image.Image) -> Image.Exif:
    """The descriptive tags and directories of a photo, for a TIFF file."""
    source, tags = like.getexif(), Image.Exif()
    for tag in DESCRIPTIVE:
        if tag in source:
            tags[tag] = dict(source.get_ifd(tag)) if tag in DIRECTORIES else source[tag]
    return tags


def png_text(like: Image.Image) -> PngImagePlugin.PngInfo:
    """PNG's text chunks, and XMP, which Pillow writes to PNG only as text."""
    info = PngImagePlugin.PngInfo()
    texts: dict[str, str] = getattr(like, "text", {})
    for key, value in texts.items():
        if key != "XML:com.adobe.xmp":
            info.add_itxt(key, str(value))
    comment = like.info.get("comment")  # JPEG's and GIF's; PNG has it as a text
    if isinstance(comment, bytes) and "Comment" not in texts:
        info.add_itxt("Comment", comment.decode("utf-8", "replace"))
    xmp = like.info.get("xmp") or texts.get("XML:com.adobe.xmp")
    if xmp:
        info.add_itxt("XML:com.adobe.xmp", xmp.decode("utf-8", "replace") if isinstance(xmp, bytes) else str(xmp))
    return info


def without_thumbnail(exif: bytes) -> bytes:
    """EXIF with the embedded thumbnail blanked and every other byte in its place.

    Rewriting EXIF moves maker notes, whose inner offsets then point nowhere; so the link to the thumbnail's
    directory is cut and its bytes are zeroed, in place. Malformed EXIF comes back as it was.
    """
    start = 6 if exif.startswith(b"Exif\0\0") else 0
    data = bytearray(exif)
    order = {b"II": "<", b"MM": ">"}.get(bytes(data[start : start + 2]))
    if order is None:
        return exif
    try:
        (first,) = struct.unpack_from(f"{order}I", data, start + 4)
        (count,) = struct.unpack_from(f"{order}H", data, start + first)
        link = start + first + 2 + 12 * count
        (second,) = struct.unpack_from(f"{order}I", data, link)
        if second == 0:
            return exif
        (count,) = struct.unpack_from(f"{order}H", data, start + second)
        rows = (struct.unpack_from(f"{order}HHII", data, start + second + 2 + 12 * i) for i in range(count))
        values = {tag: value for tag, _, _, value in rows}
        offset, length = start + values.get(0x0201, 0), values.get(0x0202, 0)
        data[offset : offset + length] = bytes(len(data[offset : offset + length]))
        struct.pack_into(f"{order}I", data, link, 0)
    except struct.error:
        return exif
    return bytes(data)
