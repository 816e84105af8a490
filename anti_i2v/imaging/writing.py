"""A picture becomes a file: complete or not at all, in the format of its name, with what the photo said about itself.

* PNG, TIFF and BMP are exact, and so is WebP, but that with `same` one that was lossy stays so, at quality 95.
* JPEG takes the photo's own quantisation tables, or quality 95, and colours at full size.
* AVIF has quality 95 and colours at full size; 100 with alpha, which only then is exact. Colours are not: quality 100 moves them by up to 3
  steps in Pillow's hands. So there is no exact AVIF, and who asks for one gets PNG.
* HEIC has quality 95 and colours at half size, the only kind that all viewers show.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

from anti_i2v.errors import UsageError
from anti_i2v.imaging.metadata import iptc, tiff
from anti_i2v.imaging.metadata import kept as metadata
from anti_i2v.imaging.metadata.info import ORIENTATION
from anti_i2v.imaging.metadata.xmp import without_padding
from anti_i2v.imaging.reading import BACK, DESCRIPTIVE, HEIF, IPTC_TAG, JPEG, PHOTOSHOP_TAG, enable

# Written without loss under their own name; every other format is lossy (or rare) and becomes PNG unless it shall stay the same.
LOSSLESS = {".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF", ".bmp": "BMP", ".webp": "WEBP"}
LOSSY = {**dict.fromkeys(JPEG, "JPEG"), ".avif": "AVIF", **dict.fromkeys(HEIF, "HEIF")}
QUALITY = 95
AVIF_SPEED = 8  # of 10; half the time of Pillow's 6 for a file half as large again
SEGMENT = 65533  # bytes of a JPEG's segment, less its length
XMP_MOST = SEGMENT - 29  # less the name
XMP_TAG = 700


@dataclass(frozen=True)
class Saving(metadata.Wishes):
    """How a photo is written.

    Attributes:
        format: `same` lets a WebP that was lossy stay so; all other formats are as their suffix says.
        quality: Of lossy formats, 1–100; None: the photo's tables in JPEG, 95 elsewhere.
    """

    format: str = "lossless"
    quality: int | None = None


AS_IT_WAS = Saving()


def stem(path: Path) -> str:
    """Stands for a file's name, and is no longer than it has to be: names may be as long as the file system allows."""
    return hashlib.sha256(path.name.encode(errors="replace")).hexdigest()[:12]


def passing(path: Path) -> Path:
    """Where this process writes a file until it is complete."""
    return path.with_name(f".{stem(path)}.{os.getpid()}.part")


def save_photo(
    image: Image.Image, path: Path, like: Image.Image, saving: Saving = AS_IT_WAS, check: Callable[[Path], object] | None = None
) -> tuple[str, ...]:
    """Write a picture so that it appears complete or not at all, with the metadata of the photo that it came from.

    Args:
        image: What to write.
        path: Where; its suffix chooses the format.
        like: The photo as `read_photo` gave it: EXIF, ICC, XMP, resolution and comments come from it.
        saving: How.
        check: Called with the written file before it gets its name; what it raises leaves nothing behind.

    Returns:
        Notes on what could not be kept or added, each a clause without a subject of its own ("… was left out").

    Raises:
        UsageError: The format cannot hold the picture's mode, or the file cannot be written.
    """
    part = passing(path)
    try:
        with part.open("wb") as file:
            notes = encode_photo(image, file, path.suffix, like, saving)
        if check is not None:
            check(part)
        part.replace(path)
    except UsageError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"cannot write {path} (mode {image.mode}): {reason}; choose another folder or PNG") from None
    finally:
        part.unlink(missing_ok=True)
    return notes


def encode_photo(image: Image.Image, file: BinaryIO, suffix: str, like: Image.Image, saving: Saving = AS_IT_WAS) -> tuple[str, ...]:
    """What `save_photo` does, into an open file: for members of a tar. Raises OSError where Pillow does."""
    suffix = suffix.lower()
    format = LOSSLESS.get(suffix) or LOSSY.get(suffix)
    if format is None:
        raise UsageError(f"cannot write {suffix!r}; choose one of {', '.join(sorted([*LOSSLESS, *LOSSY]))}")
    if saving.quality is not None and not 1 <= saving.quality <= 100:
        raise UsageError(f"quality {saving.quality} is none; give one from 1 to 100")
    kept = metadata.kept(image, like, saving, grey_profile=format == "PNG")
    if image.mode[0] in "IF" and format not in ("PNG", "TIFF", "HEIF"):
        raise OSError(f"{format} holds 8 bits")  # Pillow would cut off what is above
    # Pillow's encoders look for more in the picture itself, such as all tags of a TIFF; here it is `like` that counts.
    plain = image if type(image) is Image.Image else image.copy()
    common: dict[str, Any] = {"icc_profile": kept.icc, "xmp": kept.xmp or b""}
    match format:
        case "PNG":
            # zlib's level 4 writes photos with a faint residual 2.5 times as fast as the default 6, and no larger.
            how = {"pnginfo": metadata.png_chunks(kept, like), "exif": kept.exif, "dpi": kept.dpi, "icc_profile": kept.icc}
            plain.save(file, "PNG", compress_level=4, **how)
        case "JPEG":
            _jpeg(plain, file, like, saving, kept)
        case "WEBP":
            lossy = saving.format == "same" and like.info.get("lossless") is False
            # `exact` keeps the colours under transparent pixels, so that the budget holds there too.
            quality = {"quality": saving.quality or QUALITY} if lossy else {"lossless": True, "exact": True}
            plain.save(file, "WEBP", exif=kept.exif, **quality, **common)
        case "AVIF":
            alpha = plain.has_transparency_data
            colours = {} if plain.mode in ("1", "L") else {"subsampling": "4:4:4"}
            quality = {"quality": saving.quality or (100 if alpha else QUALITY), "speed": AVIF_SPEED}
            plain.save(file, "AVIF", exif=_Exif(kept.exif), **quality, **colours, **common)
        case "HEIF":
            enable("HEIF", f"cannot write {suffix}")
            plain.save(file, "HEIF", exif=kept.exif or None, quality=saving.quality or QUALITY, chroma=420, **common)
        case "TIFF":
            _tiff(plain, file, kept)
        case "BMP":
            _bmp(plain, file, kept)
    cannot = {"BMP": ("EXIF", "the profile", "XMP", "IPTC"), "WEBP": ("IPTC",), "AVIF": ("IPTC",), "HEIF": ("IPTC",)}.get(format, ())
    have = {"EXIF": kept.exif, "the profile": kept.icc, "XMP": kept.xmp, "IPTC": kept.iptc.get(iptc.IIM)}
    kept.notes.extend(f"{name}{_told(saving, name)}, which {format} cannot hold, was left out" for name in cannot if have[name])
    return tuple(kept.notes)


def _told(saving: Saving, name: str) -> str:
    return f" with {words}" if name == "XMP" and (words := metadata.added(saving)) else ""


class _Exif(Image.Exif):
    """EXIF that Pillow's AVIF encoder takes its orientation from and then writes as it was, not as Pillow would encode it."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.data = data
        with contextlib.suppress(tiff.TornError):
            source = tiff.Source(io.BytesIO(data))
            for orientation in source.numbers(source.directory(source.first).find(ORIENTATION)):
                self[ORIENTATION] = orientation if orientation in BACK else 1

    def tobytes(self, offset: int = 8) -> bytes:
        return self.data

    def __len__(self) -> int:
        return len(self.data)


def _jpeg(image: Image.Image, file: BinaryIO, like: Image.Image, saving: Saving, kept: metadata.Kept) -> None:
    quality: dict[str, Any] = {"quality": saving.quality or QUALITY}
    if saving.quality is None and (tables := _tables(like, image.mode)):
        quality = {"qtables": tables}
    exif = metadata.EXIF_HEAD + kept.exif if kept.exif else b""
    xmp = kept.xmp if len(kept.xmp or b"") <= XMP_MOST else without_padding(kept.xmp or b"")
    photoshop = iptc.HEAD + iptc.block(kept.iptc) if kept.iptc else b""
    parts = {
        "EXIF": (exif, SEGMENT),
        "XMP": (xmp or b"", XMP_MOST),
        "IPTC": (photoshop, SEGMENT),
        "the comment": (kept.comment or b"", SEGMENT),
    }
    for name, (content, most) in parts.items():
        if len(content) > most:
            kept.notes.append(f"{name}{_told(saving, name)}, too long for JPEG, was left out")
            parts[name] = (b"", most)
    exif, xmp, photoshop, comment = (content for content, _ in parts.values())
    extra = b"\xff\xed" + struct.pack(">H", len(photoshop) + 2) + photoshop if photoshop else b""
    dpi = {"dpi": kept.dpi} if kept.dpi else {}
    image.save(file, "JPEG", subsampling=0, exif=exif, xmp=xmp, extra=extra, comment=comment, icc_profile=kept.icc, **dpi, **quality)


def _tables(like: Image.Image, mode: str) -> list[list[int]] | None:
    """The quantisation tables of a JPEG, one for each component that will be written; the last serves those behind it."""
    tables: dict[int, list[int]] = getattr(like, "quantization", None) or {}
    used = [tables.get(layer[3]) for layer in getattr(like, "layer", ())]
    whole = [table for table in used if table and len(table) == 64]
    if not whole or len(whole) < len(used):
        return None
    # Print colours are written as they are, not as lightness and colour: the fine table is for all of them.
    found = whole[: {"L": 1, "CMYK": 1}.get(mode, 3)]
    while len(found) > 1 and found[-1] == found[-2]:
        found.pop()
    return found


def _tiff(image: Image.Image, file: BinaryIO, kept: metadata.Kept) -> None:
    dpi = {"dpi": kept.dpi} if kept.dpi else {}
    written = io.BytesIO()
    image.save(written, "TIFF", compression="tiff_adobe_deflate", icc_profile=kept.icc, **dpi)
    entries: list[tiff.Entry] = []
    try:
        if kept.exif:
            source = tiff.Source(io.BytesIO(kept.exif))
            entries += source.entries(source.first, DESCRIPTIVE)
    except tiff.TornError:
        kept.notes.append("damaged EXIF was left out")
    rest = {number: value for number, value in kept.iptc.items() if number != iptc.IIM}
    for tag, value in ((XMP_TAG, kept.xmp), (IPTC_TAG, kept.iptc.get(iptc.IIM)), (PHOTOSHOP_TAG, iptc.block(rest))):
        if value:
            entries.append(tiff.Entry(tag, tiff.UNDEFINED if tag == IPTC_TAG else tiff.BYTE, len(value), value))
    if entries:
        tiff.append(written, entries)
    file.write(written.getbuffer())


def _bmp(image: Image.Image, file: BinaryIO, kept: metadata.Kept) -> None:
    dpi = kept.dpi or (96, 96)
    if image.mode not in ("RGBA", "LA"):
        image.save(file, "BMP", dpi=dpi)
        return
    # Alpha takes a header of version 4 (BITMAPV4HEADER), which Pillow reads and does not write.
    pixels = image.convert("RGBA").transpose(Image.Transpose.FLIP_TOP_BOTTOM).tobytes("raw", "BGRA")
    per_metre = [round(x / 0.0254) for x in dpi]
    sizes = struct.pack("<IiiHHIIiiII", 108, *image.size, 1, 32, 3, len(pixels), *per_metre, 0, 0)
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + b"BGRs" + bytes(48)
    file.write(b"BM" + struct.pack("<IHHI", 122 + len(pixels), 0, 0, 122) + sizes + masks + pixels)
