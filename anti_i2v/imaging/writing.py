"""A picture becomes a file: complete or not at all, in the format of its name, with the metadata of the photo.

* PNG, TIFF and BMP are exact, and so is WebP, but that with `same` one that was lossy stays so, at quality 95.
* JPEG takes the photo's own quantisation tables, or quality 95, and is progressive if the photo is; colours have the size that they had.
* AVIF has quality 95 and colours at full size; 100 with alpha, which only then is exact. Colours are not: quality 100 moves them by up to 3
  steps in Pillow's hands. So there is no exact AVIF, and who asks for one gets PNG.
* HEIC has quality 95 and colours at half size, the only kind that all viewers show.
"""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image

from anti_i2v import atomic
from anti_i2v.errors import UsageError
from anti_i2v.imaging import colour_description, jpeg, jpeg_settings, png
from anti_i2v.imaging.metadata import iptc, tiff
from anti_i2v.imaging.metadata.collect import EXIF_HEAD, Metadata, added_statements, collect, png_chunks
from anti_i2v.imaging.metadata.options import WriteOptions
from anti_i2v.imaging.metadata.tiff import ORIENTATION
from anti_i2v.imaging.metadata.xmp import strip_padding
from anti_i2v.imaging.reading import BACK, DESCRIPTIVE, HEIF, IPTC_TAG, JPEG, PHOTOSHOP_TAG, load_codec
from anti_i2v.imaging.stderr import silence_stderr

# Written without loss under their own name; every other format is lossy (or rare) and becomes PNG unless formats are to stay.
LOSSLESS = {".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF", ".bmp": "BMP", ".webp": "WEBP"}
LOSSY = {**dict.fromkeys(JPEG, "JPEG"), ".avif": "AVIF", **dict.fromkeys(HEIF, "HEIF")}
SUFFIXES = {"PNG": ".png", "TIFF": ".tif", "BMP": ".bmp", "WEBP": ".webp", "JPEG": ".jpg", "MPO": ".jpg", "AVIF": ".avif", "HEIF": ".heic"}
"""Format of a photo, as `read_photo` names it → the suffix that writes it again."""
QUALITY = jpeg_settings.QUALITY
AVIF_SPEED = 8  # of 10; half the time of Pillow's 6 for a file half as large again
XMP_MAX = jpeg.SEGMENT - 29  # less the name
XMP_TAG = 700
COLOURS, GAMMA = "the description of its colours by code points", "the description of its colours by gamma and primaries"
CANNOT = {
    "PNG": (),
    "JPEG": (COLOURS, GAMMA),
    "TIFF": (COLOURS, GAMMA),
    "BMP": ("EXIF", "the profile", "XMP", "IPTC", COLOURS, GAMMA),
    "WEBP": ("IPTC", COLOURS, GAMMA),
    "AVIF": ("IPTC", GAMMA),
    "HEIF": ("IPTC", GAMMA),
}
"""What each format cannot hold."""


DEFAULTS = WriteOptions()


def save_photo(image: Image.Image, path: Path, like: Image.Image, options: WriteOptions = DEFAULTS) -> tuple[str, ...]:
    """Write a picture so that it appears complete or not at all, with the metadata of the photo that it came from.

    Args:
        image: What to write.
        path: Where; its suffix chooses the format.
        like: The photo as `read_photo` gave it: EXIF, ICC, XMP, resolution and comments come from it.
        options: How.

    Returns:
        Notes on what could not be kept or added, each a clause without a subject of its own ("… was left out").

    Raises:
        UsageError: The format cannot hold the picture's mode, or the file cannot be written.
    """
    with write_error(path, image), atomic.write(path) as part, part.open("wb") as file:
        return encode_photo(image, file, path.suffix, like, options)


@contextlib.contextmanager
def write_error(path: Path, image: Image.Image) -> Iterator[None]:
    """Turns what encoders and disks raise into one line that names the file."""
    try:
        yield
    except UsageError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"cannot write {path} (mode {image.mode}): {reason}; choose another folder or PNG") from None


def encode_photo(image: Image.Image, file: BinaryIO, suffix: str, like: Image.Image, options: WriteOptions = DEFAULTS) -> tuple[str, ...]:
    """What `save_photo` does, into an open file: for members of a tar. Raises OSError where Pillow does."""
    suffix = suffix.lower()
    format = LOSSLESS.get(suffix) or LOSSY.get(suffix)
    if format is None:
        raise UsageError(f"cannot write {suffix!r}; choose one of {', '.join(sorted([*LOSSLESS, *LOSSY]))}")
    if options.quality is not None and not 1 <= options.quality <= 100:
        raise UsageError(f"quality is {options.quality}; give a whole number from 1 to 100")
    metadata = collect(image, like, options, grey_profile=format == "PNG")
    if image.mode[0] in "IF" and format not in ("PNG", "TIFF", "HEIF"):
        raise OSError(f"{format} holds 8 bits")  # Pillow would cut off what is above
    # Pillow's encoders look for more in the picture itself, such as all tags of a TIFF; here it is `like` that counts.
    plain = image if type(image) is Image.Image else image.copy()
    common: dict[str, Any] = {"icc_profile": metadata.icc, "xmp": metadata.xmp or b""}
    match format:
        case "PNG":
            _png(plain, file, like, metadata)
        case "JPEG":
            _jpeg(plain, file, like, options, metadata)
        case "WEBP":
            lossy = options.format == "same" and like.info.get("lossless") is False
            # `exact` keeps the colours under transparent pixels, so that the budget holds there too.
            quality = {"quality": options.quality or QUALITY} if lossy else {"lossless": True, "exact": True}
            plain.save(file, "WEBP", exif=metadata.exif, **quality, **common)
        case "AVIF":
            alpha = plain.has_transparency_data
            colours = {} if plain.mode in ("1", "L") else {"subsampling": "4:4:4"}
            quality = {"quality": options.quality or (100 if alpha else QUALITY), "speed": AVIF_SPEED}
            with _described(file, metadata) as part:
                plain.save(part, "AVIF", exif=_Exif(metadata.exif), **quality, **colours, **common)
        case "HEIF":
            load_codec("HEIF", f"cannot write {suffix}")
            # The encoder would copy unknown metadata; thumbnails it makes anew, of what it writes.
            heif: dict[str, Any] = {"exif": metadata.exif or None, "metadata": [], "quality": options.quality or QUALITY, "chroma": 420}
            with _described(file, metadata) as part:
                plain.save(part, "HEIF", **heif, **common)
        case "TIFF":
            _tiff(plain, file, metadata)
        case "BMP":
            _bmp(plain, file, metadata)
    have: dict[str, object] = {"EXIF": metadata.exif, "the profile": metadata.icc, "XMP": metadata.xmp, "IPTC": metadata.iptc.get(iptc.IIM)}
    have |= {COLOURS: colour_description.tells_more_than_srgb(metadata.cicp), GAMMA: colour_description.tells_gamma(like)}
    if like.info.get("hints") and (format, like.format) != ("PNG", "PNG"):
        metadata.notes.append("light levels for displays of high dynamic range were left out")
    reason = f"which {format} cannot hold"
    metadata.notes.extend(f"{name}{_with_statements(options, name)}, {reason}, was left out" for name in CANNOT[format] if have[name])
    return tuple(metadata.notes)


def _with_statements(options: WriteOptions, name: str) -> str:
    return f" with {words}" if name == "XMP" and (words := added_statements(options)) else ""


def _png(image: Image.Image, file: BinaryIO, like: Image.Image, metadata: Metadata) -> None:
    hints, kept = (like.info.get(name) if like.format == "PNG" else None for name in ("hints", "png_chunks"))
    part = io.BytesIO()
    # zlib's level 4 writes photos with a faint residual 2.5 times as fast as the default 6, and no larger.
    chunks: dict[str, Any] = {"pnginfo": png_chunks(metadata, like), "exif": metadata.exif, "dpi": metadata.dpi}
    image.save(part, "PNG", compress_level=4, icc_profile=metadata.icc, **chunks)
    data = colour_description.with_hints(part.getvalue(), hints) if hints else part.getbuffer()
    file.write(png.with_chunks(bytes(data), kept) if kept else data)


@contextlib.contextmanager
def _described(file: BinaryIO, metadata: Metadata) -> Iterator[BinaryIO]:
    """Where to write an AVIF or HEIC that shall have the code points of its photo."""
    if metadata.cicp is None:
        yield file
        return
    part = io.BytesIO()
    yield part
    file.write(colour_description.with_code_points(part.getvalue(), metadata.cicp))


class _Exif(Image.Exif):
    """EXIF that Pillow's AVIF encoder takes its orientation from and then writes as it was, not as Pillow would encode it."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.data = data
        with contextlib.suppress(tiff.DamagedError):
            source = tiff.Reader(io.BytesIO(data))
            for orientation in source.numbers(source.directory(source.first).find(ORIENTATION)):
                self[ORIENTATION] = orientation if orientation in BACK else 1

    def tobytes(self, offset: int = 8) -> bytes:
        return self.data

    def __len__(self) -> int:
        return len(self.data)


def _jpeg(image: Image.Image, file: BinaryIO, like: Image.Image, options: WriteOptions, metadata: Metadata) -> None:
    exif = EXIF_HEAD + metadata.exif if metadata.exif else b""
    xmp = metadata.xmp if len(metadata.xmp or b"") <= XMP_MAX else strip_padding(metadata.xmp or b"")
    photoshop = iptc.HEAD + iptc.encode_resources(metadata.iptc) if metadata.iptc else b""
    parts = {
        "XMP": (xmp or b"", XMP_MAX),
        "IPTC": (photoshop, jpeg.SEGMENT),
        "the comment": (metadata.comment or b"", jpeg.SEGMENT),
    }
    for name, (content, most) in parts.items():
        if len(content) > most:
            metadata.notes.append(f"{name}{_with_statements(options, name)}, too long for JPEG, was left out")
            parts[name] = (b"", most)
    xmp, photoshop, comment = (content for content, _ in parts.values())
    extra = jpeg.continued_exif(exif) + (jpeg.segment(0xED, photoshop) if photoshop else b"")
    parameters: dict[str, Any] = {"dpi": metadata.dpi} if metadata.dpi else {}
    parameters |= {"exif": exif[: jpeg.SEGMENT], "xmp": xmp, "extra": extra, "comment": comment, "icc_profile": metadata.icc}
    parameters |= jpeg_settings.like(like, image.mode, options.quality)
    written, progressive = io.BytesIO(), jpeg_settings.is_progressive(like)
    coarse = any(max(table) > 255 for table in parameters.get("qtables", ()))
    try:
        # libjpeg warns of coarse tables, although it is the photo that has them, and of what goes wrong.
        with silence_stderr() if coarse or progressive else contextlib.nullcontext():
            image.save(written, "JPEG", progressive=progressive, **parameters)
    except OSError:
        if not progressive:
            raise
        # The room that Pillow gives to libjpeg is too small for such noise.
        metadata.notes.append("a progressive JPEG became a baseline one, because it is too noisy for Pillow")
        written = io.BytesIO()
        image.save(written, "JPEG", **parameters)
    file.write(jpeg.with_density(written.getbuffer(), like.info))


def _tiff(image: Image.Image, file: BinaryIO, metadata: Metadata) -> None:
    dpi = {"dpi": metadata.dpi} if metadata.dpi else {}
    written = io.BytesIO()
    image.save(written, "TIFF", compression="tiff_adobe_deflate", icc_profile=metadata.icc, **dpi)
    entries: list[tiff.Entry] = []
    try:
        if metadata.exif:
            source = tiff.Reader(io.BytesIO(metadata.exif))
            entries += source.entries(source.first, DESCRIPTIVE)
    except tiff.DamagedError:
        metadata.notes.append("damaged EXIF was left out")
    rest = {number: value for number, value in metadata.iptc.items() if number != iptc.IIM}
    for tag, value in ((XMP_TAG, metadata.xmp), (IPTC_TAG, metadata.iptc.get(iptc.IIM)), (PHOTOSHOP_TAG, iptc.encode_resources(rest))):
        if value:
            entries.append(tiff.Entry(tag, tiff.UNDEFINED if tag == IPTC_TAG else tiff.BYTE, len(value), value))
    if entries:
        tiff.add_tags(written, entries)
    file.write(written.getbuffer())


def _bmp(image: Image.Image, file: BinaryIO, metadata: Metadata) -> None:
    dpi = metadata.dpi or (96, 96)
    if image.mode not in ("RGBA", "LA"):
        image.save(file, "BMP", dpi=dpi)
        return
    # Alpha takes a header of version 4 (BITMAPV4HEADER), which Pillow reads and does not write.
    pixels = image.convert("RGBA").transpose(Image.Transpose.FLIP_TOP_BOTTOM).tobytes("raw", "BGRA")
    per_metre = [round(x / 0.0254) for x in dpi]
    sizes = struct.pack("<IiiHHIIiiII", 108, *image.size, 1, 32, 3, len(pixels), *per_metre, 0, 0)
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + b"BGRs" + bytes(48)
    file.write(b"BM" + struct.pack("<IHHI", 122 + len(pixels), 0, 0, 122) + sizes + masks + pixels)
