"""What a photo file says beside its pixels, carried over to the protected file.

EXIF, ICC profile, XMP, IPTC, resolution, comment and PNG's texts are copied byte for byte, but for the pictures in them (thumbnails,
previews), which show the unprotected photo, and for what the user wants gone or added. Content Credentials (C2PA) are not copied: they
sign pixels that have changed. An XMP packet beyond the first 64 kB of a JPEG ("extended") is not either: it holds depth maps and originals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from PIL import Image, PngImagePlugin

from anti_i2v.imaging.metadata import exif, iptc, marks, places, tiff, xmp

EXIF_HEAD = b"Exif\0\0"
# Texts of a PNG that are EXIF, XMP or IPTC, and of which what was read of them is written in their place. Case differs between writers.
RAW_PROFILE = "raw profile type "
RAW_PROFILES = ("exif", "app1", "app13", "xmp", "iptc", "8bim")
RETOLD = {"XML:com.adobe.xmp", "exif"}
# Properties of XMP that hold whole pictures, or point to some that are not there any more.
PICTURES = {
    ("http://ns.adobe.com/xap/1.0/", "Thumbnails"),
    ("http://ns.google.com/photos/1.0/image/", "Data"),
    ("http://ns.google.com/photos/1.0/depthmap/", "Data"),
    ("http://ns.adobe.com/xmp/note/", "HasExtendedXMP"),
}
SPACES = {"CMYK": (b"CMYK",), "1": (b"GRAY", b"RGB "), "L": (b"GRAY", b"RGB "), "LA": (b"GRAY", b"RGB "), "I;16": (b"GRAY", b"RGB ")}


@dataclass(frozen=True)
class Wishes:
    """What shall be written beside what is there, and what shall not.

    Attributes:
        strip_gps: Remove what `places` lists.
        no_ai_training: State that nobody may train on the photo, see `marks.no_training`.
        mark: State how the photo was protected.
    """

    strip_gps: bool = False
    no_ai_training: bool = False
    mark: marks.Mark | None = None


@dataclass
class Kept:
    """What goes into the file, and notes on what does not.

    Attributes:
        exif: Without the six bytes that JPEG puts before it; empty for none.
        icc: None where the profile is for other colours than the picture has.
        xmp: None for none.
        dpi: Pixels per inch across and down.
        iptc: Image resources by number.
        texts: PNG's; those of its international kind know their language.
    """

    exif: bytes = b""
    icc: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    comment: bytes | None = None
    iptc: dict[int, bytes] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def kept(image: Image.Image, like: Image.Image, wishes: Wishes, grey_profile: bool = False) -> Kept:
    """What a file of `image` will say.

    Args:
        image: The picture that will be written.
        like: The photo that it came from, as `read_photo` gave it.
        wishes: What the user wants different.
        grey_profile: Whether the format allows a grey picture a grey profile only.
    """
    info, result = like.info, Kept()
    if info.get("c2pa") is True:
        result.notes.append("Content Credentials (C2PA), which sign the pixels as they were, were lost")
    if info.get("unreadable"):
        result.notes.append(f"unreadable {info['unreadable']} was left out")
    profile = info.get("icc_profile")
    spaces = SPACES.get(image.mode, (b"RGB ",))
    # A CMYK profile on an RGB picture would wreck its colours: bytes 16–20 of a profile name its colour space.
    if isinstance(profile, bytes) and profile[16:20] in (spaces[:1] if grey_profile else spaces):
        result.icc = profile
    result.dpi, result.comment = info.get("dpi"), info.get("comment")
    result.exif = _exif(info, wishes, result.notes)
    result.xmp = _xmp(marks.packet(like), wishes, result.notes)
    result.iptc = iptc.kept(info.get("photoshop") or {}, places.in_iptc if wishes.strip_gps else None)
    result.texts = _texts(like, wishes, result.notes)
    return result


def _texts(like: Image.Image, wishes: Wishes, notes: list[str]) -> dict[str, str]:
    """PNG's texts, but for those that are written as what they are in truth; raw profiles of that kind `info.settle` took out of `info`."""
    texts: Mapping[str, str] = getattr(like, "text", {})
    held = {key: value for key, value in texts.items() if key not in RETOLD and not (wishes.strip_gps and places.in_text(key))}
    raw = {key for key in held if key.lower().startswith(RAW_PROFILE)}
    gone = raw - like.info.keys()
    if wishes.strip_gps and gone != raw:
        notes.append("a raw profile of unknown kind, which may tell the place, was left out")
        gone = raw
    return {key: value for key, value in held.items() if key not in gone}


def _exif(info: Mapping[str | tuple[int, int], object], wishes: Wishes, notes: list[str]) -> bytes:
    held = info.get("exif")
    clean = exif.without_pictures(held.removeprefix(EXIF_HEAD)) if isinstance(held, bytes) else b""
    if not (clean and wishes.strip_gps):
        return clean
    try:
        return exif.without_maker_note(exif.without_directory(clean, tiff.GPS))
    except tiff.TornError:
        notes.append("damaged EXIF, which may tell the place, was left out")
        return exif.orientation_alone(clean)


def _xmp(held: bytes | None, wishes: Wishes, notes: list[str]) -> bytes | None:
    letters = (held or b"").replace(b"\0", b"")  # so that they are found in UTF-16 too
    pictures = any(namespace.encode() in letters and name.encode() in letters for namespace, name in PICTURES)
    if not (pictures or (held and wishes.strip_gps) or wishes.no_ai_training or wishes.mark):
        return held
    try:
        statement = marks.no_training(held) if wishes.no_ai_training else None
        new = [*([statement] if statement else []), *([wishes.mark.description()] if wishes.mark else [])]
        replaced = {marks.NAMESPACE} if wishes.mark else set()
        values = {(description.namespace, name) for description in new for name in description.values}

        def unwanted(namespace: str, name: str) -> bool:
            gone = (namespace, name) in PICTURES or (namespace, name) in values or namespace in replaced
            return gone or (wishes.strip_gps and places.in_xmp(namespace, name))

        return xmp.edited(held or None, unwanted, new)
    except xmp.UnreadableError:
        if wishes.strip_gps or pictures:
            notes.append(f"unreadable XMP, which may {'tell the place' if wishes.strip_gps else 'show the photo as it was'}, was left out")
            return None
        if wishes.mark or wishes.no_ai_training:
            notes.append(f"unreadable XMP was kept, so {added(wishes)} could not be added")
        return held


def added(wishes: Wishes) -> str:
    """What is to be said in XMP, in words."""
    parts = ["the mark of protection"] * (wishes.mark is not None) + ["the word against AI training"] * wishes.no_ai_training
    return " and ".join(parts)


def png_chunks(kept: Kept, like: Image.Image) -> PngImagePlugin.PngInfo:
    """What PNG holds in chunks of its own: texts, XMP and IPTC as texts, and the colours of a file without a profile."""
    info = PngImagePlugin.PngInfo()
    if like.format == "PNG":
        _add_colours(info, like.info)
    for key, value in kept.texts.items():
        info.add_text(key, value)
    if kept.comment and "Comment" not in kept.texts:  # JPEG's and GIF's; PNG has it as a text
        info.add_itxt("Comment", kept.comment.decode("utf-8", "replace"))
    if kept.iptc:
        info.add_text("Raw profile type iptc", iptc.profile(kept.iptc), zip=True)
    if kept.xmp:
        info.add_itxt("XML:com.adobe.xmp", kept.xmp)  # as bytes, also if they are no UTF-8
    return info


def _add_colours(info: PngImagePlugin.PngInfo, held: Mapping[str | tuple[int, int], object]) -> None:
    """Gamma, primaries and intent, without which a viewer would show other colours."""
    gamma, primaries, intent = held.get("gamma"), held.get("chromaticity"), held.get("srgb")
    numbers = [gamma] if isinstance(gamma, float) else []
    chunks = {b"gAMA": numbers, b"cHRM": list(primaries) if isinstance(primaries, tuple) else []}
    for name, values in chunks.items():
        if values:
            info.add(name, b"".join(round(100_000 * value).to_bytes(4, "big") for value in values))
    if isinstance(intent, int) and 0 <= intent <= 3:
        info.add(b"sRGB", bytes([intent]))
