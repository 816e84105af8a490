"""A photo file becomes a decoded picture, or a line that says why not.

* Pixels keep their stored layout and the EXIF orientation tag stays as it was; nothing is rotated. (HEIC is the exception: its
  decoder turns the picture upright and says so in the tag.)
* `info` holds what `metadata` carries over, validated: a PNG may name a text `dpi` and put anything there.
* 16-bit grey (`I;16`) stays 16-bit. Other values of more than 8 bits are read as 8-bit; `info["reduced_from_bits"]` says so. What Pillow
  reads otherwise than it is meant is in `corrections`.
* Animated and multi-page files are refused: protecting one frame of many would only look like protection.
* A phone's MPO file is one photo with helpers behind it (gain map, preview). `info["extras"]` names them; a protected file holds none.

Only formats of photos are tried, each by its own decoder, chosen by the first bytes and not by the name: Pillow knows forty more, one
of which starts a PostScript interpreter.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import stat
import struct
import warnings
from pathlib import Path, PurePath
from typing import Any, BinaryIO

from PIL import Image, UnidentifiedImageError, features

from anti_i2v.errors import UsageError
from anti_i2v.imaging import colour_description, containers, corrections, jpeg, pages, png
from anti_i2v.imaging.extras.find import find_extras
from anti_i2v.imaging.metadata import iptc, tiff
from anti_i2v.imaging.metadata.collect import EXIF_HEAD
from anti_i2v.imaging.metadata.tiff import ORIENTATION
from anti_i2v.imaging.metadata.validate import validate_info
from anti_i2v.imaging.stderr import silence_stderr

# By name, the files that are looked for in folders and shards.
JPEG = {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"}
HEIF = (".heic", ".heif", ".hif")
PHOTO_SUFFIXES = frozenset({".png", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".avif", ".jp2", ".ppm", ".pgm", *JPEG, *HEIF})

PLUGINS = {"JPEG": "Jpeg", "PNG": "Png", "WEBP": "WebP", "AVIF": "Avif", "TIFF": "Tiff", "BMP": "Bmp", "GIF": "Gif"}
PLUGINS |= {"JPEG2000": "Jpeg2K", "PPM": "Ppm"}
OPTIONAL = {"WEBP": "webp", "AVIF": "avif", "JPEG2000": "jpg_2000"}  # by Pillow's name of the feature

BACK = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
# What a TIFF says about its photo, among the tags on how the pixels lie: name, description, make, model, orientation, name of the page,
# resolution, software, date, artist, host, rating, copyright, the directories of EXIF, and what Windows asks for (title, comment, author,
# keywords, subject).
DESCRIPTIVE = frozenset({269, 270, 271, 272, ORIENTATION, 282, 283, 285, 296, 305, 306, 315, 316, 18246, 18249, 33432, tiff.EXIF, tiff.GPS})
DESCRIPTIVE |= frozenset(range(40091, 40096))
IPTC_TAG, PHOTOSHOP_TAG = 33723, 34377
TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt")
REMEDY = "copy it again, or save it anew in a program that still shows it"


def is_photo(name: str | PurePath) -> bool:
    """By suffix, and not one of the hidden companions that some systems leave beside photos."""
    path = PurePath(name)
    return path.suffix.lower() in PHOTO_SUFFIXES and not path.name.startswith(".")


def read_photo(source: str | Path | BinaryIO, name: str | None = None) -> Image.Image:
    """Read and fully decode a still picture, or say why not.

    Args:
        source: A path or an open binary file (a tar member).
        name: What messages call it; the path by default.

    Returns:
        The decoded picture with its `info`; its layout and mode are those of the file. Beside Pillow's own, `info` may have
        `c2pa` (it carries Content Credentials), `cicp` and `hints` (see `colour_description`), `extras` (what it holds beside the picture,
        see `extras.find`), `lossless` (of a WebP), `photoshop`, `text_chunks` (of a PNG) and `unreadable`.

    Raises:
        UsageError: Missing, not a photo, damaged, animated, or beyond Pillow's limit on pixels.
    """
    name = name or str(source)
    try:
        if not isinstance(source, (str, Path)):
            return _read(source if source.seekable() else io.BytesIO(source.read()), name)
        if not stat.S_ISREG(Path(source).stat().st_mode):
            raise UsageError(f"cannot read {name}: not a file")  # a pipe would keep us waiting
        with Path(source).open("rb") as file:
            return _read(file, name)
    except UsageError:
        raise
    except PermissionError:
        raise UsageError(f"cannot read {name}: permission denied; check who may read it") from None
    except FileNotFoundError:
        raise UsageError(f"cannot read {name}: no such file; check the path") from None
    except Image.DecompressionBombError:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        raise UsageError(f"cannot read {name}: more than {limit} megapixels; scale it down first") from None
    except Exception as error:  # decoders raise many kinds on damage: KeyError, zlib.error, AssertionError, …
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UsageError(f"cannot read {name}: {reason}; the file may be damaged: {REMEDY}") from None


def _read(file: BinaryIO, name: str) -> Image.Image:
    file.seek(0)
    head = file.read(64)
    kind = containers.kind(head)
    if not head:
        raise UsageError(f"cannot read {name}: the file is empty; copy it again")
    if kind is None:
        raise UsageError(f"cannot read {name}: not a picture of a known format; remove it or save it as PNG")
    load_codec(kind, f"cannot read {name}")
    file, damaged = png.without_damaged_chunks(file) if kind == "PNG" else (file, [])
    facts = _facts(file, kind)
    if damaged:
        facts["unreadable"] = " and ".join([facts["unreadable"], *damaged] if "unreadable" in facts else damaged)
    is_one_page = kind == "TIFF" and pages.is_one_page(file, name)
    file.seek(0)
    with warnings.catch_warnings():
        # Pillow warns from 89 and refuses from 179 megapixels, and large real photos lie between the two; it warns of damage too.
        warnings.simplefilter("ignore")
        try:
            image: Image.Image = Image.open(file, formats=(kind,))
        except UnidentifiedImageError:
            raise UsageError(f"cannot read {name}: a damaged or rare {kind} file; {REMEDY}") from None
        # Frames are not counted, for that takes a walk through the whole file.
        if image.format != "MPO" and getattr(image, "is_animated", False) and not is_one_page:
            raise UsageError(f"cannot read {name}: more than one frame or page; save the one you mean as PNG")
        if kind == "TIFF" and not isinstance(xmp := image.info.get("xmp", b""), bytes):
            # Stored as another type than bytes, on which Pillow's search for the orientation would fail; text it has decoded.
            image.info["xmp"] = xmp.encode("latin-1") if isinstance(xmp, str) else b""
        raw = [str(tile[3][0] if isinstance(tile[3], tuple) else tile[3]) for tile in getattr(image, "tile", ())]
        if image.mode in ("RGB", "RGBA", "LA", "CMYK") and any("16" in mode for mode in raw):
            facts["reduced_from_bits"] = 16
        if kind == "TIFF":
            corrections.check_tiff(image, name, facts)
        applied = image.getexif().get(ORIENTATION, 1) if kind == "TIFF" else 1
        if kind == "AVIF":
            _keep_avif_exif(image)
        with silence_stderr() if kind == "TIFF" else contextlib.nullcontext():
            image.load()
        if applied in BACK:  # Pillow turns TIFFs, and no other format, upright
            image = image.transpose(BACK[applied])
            image.format = kind
        image = corrections.correct(image, kind, raw, facts)
        validate_info(image, kind, facts)
    return image


def load_codec(kind: str, task: str) -> None:
    """Load what reads and writes a format.

    Raises:
        UsageError: It is not installed, so the task fails.
    """
    if kind == "HEIF":
        try:
            importlib.import_module("pillow_heif").register_heif_opener()
        except ImportError:
            raise UsageError(f"{task}: HEIC needs pillow-heif; install anti-i2v[heif] or take JPEG") from None
        return
    if kind in OPTIONAL and not features.check(OPTIONAL[kind]):
        raise UsageError(f"{task}: the installed Pillow has no {kind}; install the one from PyPI or take PNG")
    plugin = importlib.import_module(f"PIL.{PLUGINS[kind]}ImagePlugin")  # else Pillow would load all its plug-ins to find this one
    if kind == "PNG":
        # Pillow refuses a photo with a larger profile or text, and profiles of printers have two or three MB. libpng stops at 8.
        vars(plugin)["MAX_TEXT_CHUNK"] = 2**23


def _facts(file: BinaryIO, kind: str) -> dict[str | tuple[int, int], Any]:
    """What Pillow does not report of a file, as entries of `info`."""
    facts: dict[str | tuple[int, int], Any] = colour_description.read(file, kind)
    if containers.has_c2pa(file):
        facts["c2pa"] = True
    if extras := find_extras(file, kind):
        facts["extras"] = extras
    if kind == "WEBP":
        facts["lossless"] = any(name == b"VP8L" for name, _, _ in containers.blocks(file, kind))
    elif kind == "JPEG":
        facts |= jpeg.facts(file)
    elif kind == "PNG":
        # Pillow decompresses texts and keeps the last of each name; here they stay as they are. It refuses those that grow beyond measure.
        facts["text_chunks"] = [(name, _content(file, at, size)) for name, at, size in containers.blocks(file, kind) if name in TEXT_CHUNKS]
        if any((chunks := png.kept_chunks(file))[:2]):
            facts["png_chunks"] = chunks
    elif kind == "AVIF" and (bits := _avif_bits(file)) > 8:
        facts["reduced_from_bits"] = bits
    elif kind == "TIFF":
        # Damage here must not refuse the photo; its pixels may be intact.
        with contextlib.suppress(tiff.DamagedError, struct.error):
            source = tiff.Reader(file)
            facts["exif"] = EXIF_HEAD + tiff.encode_exif(source.entries(source.first, DESCRIPTIVE))
            facts["unreadable"] = "IPTC"  # until it has been read
            if datasets := iptc.trim(source.value(IPTC_TAG) or b""):
                facts |= {"photoshop": {iptc.IIM: datasets}, "unreadable": "part of the IPTC"}
            if resources := iptc.read_resources(source.value(PHOTOSHOP_TAG) or b""):
                facts["photoshop"] = resources | facts.get("photoshop", {})
            del facts["unreadable"]
    return facts


def _content(file: BinaryIO, at: int, size: int) -> bytes:
    file.seek(at)
    return file.read(size)


def _avif_bits(file: BinaryIO) -> int:
    """Bits of a value, from the first AV1 configuration box (AV1 in ISOBMFF, section 2.3)."""
    for name, at, size in containers.blocks(file, "AVIF"):
        if name == b"meta":
            file.seek(at)
            _, box, configuration = file.read(min(size, 2**16)).partition(b"av1C")
            flags = configuration[2] if box and len(configuration) > 2 else 0
            return 12 if flags & 0x60 == 0x60 else 10 if flags & 0x40 else 8
    return 8


def _keep_avif_exif(image: Image.Image) -> None:
    """Take EXIF as the file has it: Pillow encodes it anew where the container turns the picture otherwise than EXIF says."""
    with contextlib.suppress(AttributeError, ValueError, struct.error):
        exif, orientation = image._decoder.get_info()[4:6]  # type: ignore[attr-defined]
        if not exif:
            return
        file = io.BytesIO(exif.removeprefix(EXIF_HEAD))
        source = tiff.Reader(file)
        if orientation not in (source.numbers(source.directory(source.first).find(ORIENTATION)) or (1,)):
            tiff.add_tags(file, [tiff.Entry(ORIENTATION, 3, 1, struct.pack("<H", orientation))])
        image.info["exif"] = file.getvalue()
