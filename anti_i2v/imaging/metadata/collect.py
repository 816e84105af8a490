"""The metadata of a photo that goes into the protected file.

EXIF, ICC profile, XMP, IPTC, resolution, comment and PNG's texts are copied byte for byte, but for the pictures in them (thumbnails,
previews), which show the unprotected photo, and for what the user wants removed or added. Content Credentials (C2PA) are not copied: they
sign pixels that have changed. What lies beside the main picture is not either (`imaging.extras`): it holds depth maps, films and originals.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Any

from PIL import Image, PngImagePlugin

from anti_i2v.imaging.metadata import claims, exif, iptc, location, previews, statements, tiff, xmp
from anti_i2v.imaging.metadata.options import WriteOptions

EXIF_HEAD = b"Exif\0\0"
# Texts of a PNG that are EXIF, XMP or IPTC; what was read of them is written in their place. Case differs between writers.
RAW_PROFILE = "raw profile type "
RAW_PROFILES = ("exif", "app1", "app13", "xmp", "iptc", "8bim")
REPLACED_TEXTS = {"XML:com.adobe.xmp", "exif"}
SPACES = {"CMYK": (b"CMYK",), "1": (b"GRAY", b"RGB "), "L": (b"GRAY", b"RGB "), "LA": (b"GRAY", b"RGB "), "I;16": (b"GRAY", b"RGB ")}


@dataclass
class Metadata:
    """What goes into the file, and notes on what does not.

    Attributes:
        exif: Without the six bytes that JPEG puts before it; empty for none.
        icc: None where the profile is for other colours than the picture has.
        xmp: None for none.
        cicp: Code points of the colours, see `imaging.colour_description`; None for none, and for print colours.
        dpi: Pixels per inch across and down.
        iptc: Image resources by number.
        texts: PNG's chunks of text, each with its kind: plain, compressed or international.
    """

    exif: bytes = b""
    icc: bytes | None = None
    xmp: bytes | None = None
    cicp: bytes | None = None
    dpi: tuple[float, float] | None = None
    comment: bytes | None = None
    iptc: dict[int, bytes] = field(default_factory=dict)
    texts: list[tuple[bytes, bytes]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def collect(image: Image.Image, like: Image.Image, options: WriteOptions, grey_profile: bool = False) -> Metadata:
    """The metadata of a file of `image`.

    Args:
        image: The picture that will be written.
        like: The photo that it came from, as `read_photo` gave it.
        options: What the user wants removed and added.
        grey_profile: Whether the format allows a grey picture a grey profile only.
    """
    info, result = like.info, Metadata()
    if info.get("c2pa") is True:
        result.notes.append("Content Credentials (C2PA), which sign the pixels as they were, were lost")
    extras: tuple[str, ...] = info.get("extras", ())
    result.notes += map(claims.left_out, extras)
    if like.format == "HEIF" and info.get("metadata"):
        result.notes.append("metadata of an unknown kind was left out")
    if info.get("unreadable"):
        result.notes.append(f"unreadable {info['unreadable']} was left out")
    profile = info.get("icc_profile")
    spaces = SPACES.get(image.mode, (b"RGB ",))
    # A CMYK profile on an RGB picture would wreck its colours: bytes 16–20 of a profile name its colour space.
    if isinstance(profile, bytes) and profile[16:20] in (spaces[:1] if grey_profile else spaces):
        result.icc = profile
    elif profile:
        result.notes.append("the colour profile, which is not for these colours, was left out")
    result.cicp = None if image.mode == "CMYK" else info.get("cicp")
    result.dpi, result.comment = info.get("dpi"), info.get("comment")
    result.exif = _exif(info, options, result.notes)
    result.xmp = _xmp(statements.xmp_packet(like), options, extras, result.notes)
    result.iptc = iptc.select(info.get("photoshop") or {}, location.is_location_dataset if options.strip_gps else None)
    result.texts = _texts(info, options, result.notes)
    return result


def info_without_pictures(info: Mapping[str | tuple[int, int], Any]) -> dict[str | tuple[int, int], Any]:
    """The `info` of a photo for its protected version in memory: a program that saves it may write all of that into the file.

    EXIF, XMP and image resources as in `collect`, without what shows the unprotected photo.
    """
    clean = dict(info)
    if isinstance(data := info.get("exif"), bytes):
        head = EXIF_HEAD if data.startswith(EXIF_HEAD) else b""
        clean["exif"] = head + previews.without_pictures(data.removeprefix(EXIF_HEAD))
    if isinstance(resources := info.get("photoshop"), dict):
        clean["photoshop"] = iptc.select(resources, None)
    for name in ("xmp", "XML:com.adobe.xmp"):
        if isinstance(packet := info.get(name), (bytes, str)):
            edited = _xmp(packet if isinstance(packet, bytes) else packet.encode("utf-8", "replace"), WriteOptions(), (), []) or b""
            clean[name] = edited if isinstance(packet, bytes) else edited.decode("utf-8", "replace")
    return clean


def _texts(info: Mapping[str | tuple[int, int], object], options: WriteOptions, notes: list[str]) -> list[tuple[bytes, bytes]]:
    """PNG's texts, without those that are EXIF, XMP or IPTC; raw profiles of that kind `validate_info` took out of `info`."""
    chunks = info.get("text_chunks")
    texts: list[tuple[bytes, bytes]] = chunks if isinstance(chunks, list) else []
    keys = {_key(data) for _, data in texts}
    removed = {key for key in keys if key in REPLACED_TEXTS or (options.strip_gps and location.is_location_text(key))}
    raw = {key for key in keys if key.lower().startswith(RAW_PROFILE)}
    known = raw - info.keys()
    if options.strip_gps and known != raw:
        notes.append("a raw profile of unknown kind, which may tell the place, was left out")
        known = raw
    return [(kind, data) for kind, data in texts if _key(data) not in removed | known]


def _key(text: bytes) -> str:
    return text.split(b"\0", 1)[0].decode("latin-1")


def _exif(info: Mapping[str | tuple[int, int], object], options: WriteOptions, notes: list[str]) -> bytes:
    data = info.get("exif")
    clean = previews.without_pictures(data.removeprefix(EXIF_HEAD)) if isinstance(data, bytes) else b""
    if not (clean and options.strip_gps):
        return clean
    try:
        return exif.without_maker_note(exif.without_directory(clean, tiff.GPS))
    except tiff.DamagedError:
        notes.append("damaged EXIF, which may tell the place, was left out")
        return exif.orientation_alone(clean)


def _xmp(packet: bytes | None, options: WriteOptions, extras: Container[str], notes: list[str]) -> bytes | None:
    letters = (packet or b"").replace(b"\0", b"")  # so that they are found in UTF-16 too
    pictures = claims.TRACES.search(letters) is not None
    if not (pictures or (packet and options.strip_gps) or options.no_ai_training or options.mark):
        return packet
    try:
        statement = statements.no_training_statement(packet) if options.no_ai_training else None
        new = [*([statement] if statement else []), *([options.mark.description()] if options.mark else [])]
        replaced = {statements.NAMESPACE} if options.mark else set()
        values = {(description.namespace, name) for description in new for name in description.values}
        claimed: dict[tuple[str, str], None] = {}

        def unwanted(namespace: str, name: str) -> bool:
            if claims.is_claim(namespace, name):
                claimed[namespace, name] = None
                return True
            is_replaced = (namespace, name) in values or namespace in replaced
            return is_replaced or (options.strip_gps and location.is_location_property(namespace, name))

        edited = xmp.edit(packet or None, unwanted, new)
        notes += claims.notes(claimed, extras)
        return edited
    except xmp.UnreadableError:
        if options.strip_gps or pictures:
            content = "tell the place" if options.strip_gps else "show the photo as it was"
            notes.append(f"unreadable XMP, which may {content}, was left out")
            return None
        if options.mark or options.no_ai_training:
            notes.append(f"unreadable XMP was kept, so {added_statements(options)} could not be added")
        return packet


def added_statements(options: WriteOptions) -> str:
    """The statements that are to be added to XMP, in words."""
    parts = ["the mark of protection"] * (options.mark is not None) + ["the word against AI training"] * options.no_ai_training
    return " and ".join(parts)


def png_chunks(metadata: Metadata, like: Image.Image) -> PngImagePlugin.PngInfo:
    """What PNG holds in chunks of its own: texts, XMP and IPTC as texts, and the colours of a file without a profile."""
    info = PngImagePlugin.PngInfo()
    if like.format == "PNG":
        _add_colours(info, like.info)
    if metadata.cicp:
        info.add(b"cICP", metadata.cicp)
    for kind, data in metadata.texts:
        info.add(kind, data)
    if metadata.comment and "Comment" not in {_key(data) for _, data in metadata.texts}:  # JPEG's and GIF's; PNG has it as a text
        info.add_itxt("Comment", metadata.comment.decode("utf-8", "replace"))
    if metadata.iptc:
        info.add_text("Raw profile type iptc", iptc.to_profile(metadata.iptc), zip=True)
    if metadata.xmp:
        info.add_itxt("XML:com.adobe.xmp", metadata.xmp)  # as bytes, also if they are no UTF-8
    return info


def _add_colours(info: PngImagePlugin.PngInfo, entries: Mapping[str | tuple[int, int], object]) -> None:
    """Gamma, primaries and intent, without which a viewer would show other colours."""
    gamma, primaries, intent = entries.get("gamma"), entries.get("chromaticity"), entries.get("srgb")
    numbers = [gamma] if isinstance(gamma, float) else []
    chunks = {b"gAMA": numbers, b"cHRM": list(primaries) if isinstance(primaries, tuple) else []}
    for name, values in chunks.items():
        if values:
            info.add(name, b"".join(round(100_000 * value).to_bytes(4, "big") for value in values))
    if isinstance(intent, int) and 0 <= intent <= 3:
        info.add(b"sRGB", bytes([intent]))
