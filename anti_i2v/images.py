"""Files ↔ pictures ↔ tensors, and the three clamps and roundings that gradients must pass.

Everything that touches a photo file goes through here, so that reading refuses the same things everywhere and
writing is atomic and lossless everywhere. What is kept and what is not:

* Pixels keep their stored layout and the EXIF orientation tag stays as it was; nobody rotates anything.
* ICC profiles are copied and pixels are not converted: the budget is counted in the values that the file holds.
* Metadata: see `metadata`. The second picture of a phone's MPO file (gain map, preview) is dropped by re-encoding,
  which is as well: it may show the unprotected photo.
* TIFF is the exception to the first point: Pillow itself applies and removes its orientation tag on reading.
* 16-bit grey (`I;16`) stays 16-bit. 16-bit colour is read as 8-bit by Pillow; `info["reduced_from_bits"]` says so.
* Animated and multi-page files are refused: protecting one frame of many would only look like protection.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import struct
import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from anti_i2v import metadata
from anti_i2v.errors import UsageError

# Written without loss under their own name; every other format is lossy (or rare) and becomes PNG.
LOSSLESS = {".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF", ".bmp": "BMP", ".webp": "WEBP"}
JPEG = {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"}
HEIF = (".heic", ".heif")
PHOTO_SUFFIXES = frozenset(LOSSLESS) | JPEG | {".gif", ".avif", ".jp2", ".ppm", ".pgm", *HEIF}


def unit(x: Tensor) -> Tensor:
    """Clamp to [0, 1] with a straight-through gradient (torch's own clamp has none at 0 and 1).

    Args:
        x: Any shape, [0, 1] units, possibly out of range.

    Returns:
        Same shape, exactly `x.clamp(0, 1)`; d/dx = 1 everywhere.
    """
    return x.detach().clamp(0, 1) + (x - x.detach())


def round_to_8bit(x: Tensor) -> Tensor:
    """Round to the nearest k/255 with a straight-through gradient.

    Args:
        x: Any shape, [0, 1] units.

    Returns:
        Same shape, on the grid that `to_tensor` puts 8-bit pixels on (bit-equal for float32).
    """
    return (x.detach() * 255).round() / 255 + (x - x.detach())


def resize(image: Tensor, height: int, width: int) -> Tensor:
    """Antialiased bilinear resize, differentiable; the image itself if the size already matches.

    Args:
        image: (B, C, H, W), any range.
        height: New height in pixels.
        width: New width in pixels.

    Returns:
        (B, C, height, width), never beyond the range of `image`.
    """
    if image.shape[-2:] == (height, width):
        return image
    return F.interpolate(image, (height, width), mode="bilinear", antialias=True, align_corners=False)


def to_tensor(image: Image.Image) -> Tensor:
    """A picture as RGB: (3, H, W) float32 in [0, 1]; alpha is left out, grey is repeated, 16-bit grey keeps its depth.

    Raises:
        UsageError: Mode `I` or `F`, whose range is not defined.
    """
    if image.mode.startswith("I;16"):
        grey = torch.from_numpy(np.asarray(image).astype(np.float32) / np.float32(65535))
        return grey.expand(3, -1, -1).contiguous()
    if image.mode in ("I", "F"):
        raise UsageError(f"a picture of mode {image.mode!r} has no defined range; convert it to 8 or 16 bits first")
    pixels = np.array(image if image.mode == "RGB" else image.convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255


def to_pil(image: Tensor) -> Image.Image:
    """A (3, H, W) tensor in [0, 1] as an RGB picture; exact for tensors on the 8-bit grid."""
    pixels = (image.detach().float().clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().cpu().numpy(), mode=None)


def read_photo(source: str | Path | BinaryIO, name: str | None = None) -> Image.Image:
    """Read and fully decode a still picture, or say why not.

    Args:
        source: A path or an open binary file (a tar member).
        name: What messages call it; the path by default.

    Returns:
        The decoded picture with its `info`; its layout and mode are those of the file.

    Raises:
        UsageError: Missing, not a picture, truncated, animated, or beyond Pillow's limit on pixels.
    """
    called = name or str(source)
    if called.lower().endswith(HEIF):
        _enable_heif()
    try:
        with warnings.catch_warnings():
            # Pillow warns from 89 and refuses from 179 megapixels; large real photos lie between the two.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(source)
        # A phone's MPO is one photo with helpers behind it; anything else with frames is a film or a document.
        frames = getattr(image, "n_frames", 1)
        if frames > 1 and image.format != "MPO":
            raise UsageError(f"cannot read {called}: {frames} frames or pages; save the one you mean as PNG")
        raw_modes = [str(tile[3]) for tile in image.tile]
        if image.mode in ("RGB", "RGBA") and any("16" in mode for mode in raw_modes):
            image.info["reduced_from_bits"] = 16
        image.load()
        return image
    except UsageError:
        raise
    except FileNotFoundError:
        raise UsageError(f"cannot read {called}: no such file; check the path") from None
    except Image.DecompressionBombError:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        raise UsageError(f"cannot read {called}: more than {limit} megapixels; scale it down first") from None
    except UnidentifiedImageError:
        hint = "install pillow-heif or save it as JPEG" if called.lower().endswith(HEIF) else "remove it"
        raise UsageError(f"cannot read {called}: not a picture that Pillow knows; {hint}") from None
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, IndexError) as error:
        raise UsageError(f"cannot read {called}: {error}; the file may be damaged, copy it again") from None


def _enable_heif() -> None:
    """Phones' HEIC needs a plug-in of its own; without it the photo is refused with its name."""
    with contextlib.suppress(ImportError):
        importlib.import_module("pillow_heif").register_heif_opener()


def save_photo(image: Image.Image, path: Path, like: Image.Image) -> None:
    """Write a picture so that it appears complete or not at all, with the metadata of the photo that it came from.

    Args:
        image: What to write.
        path: Where; its suffix chooses the format. JPEG re-uses the quantisation tables of `like`, without chroma
            subsampling, and is the only lossy choice.
        like: The photo as `read_photo` gave it: EXIF, ICC, XMP, resolution and comments come from it.

    Raises:
        UsageError: The format cannot hold the picture's mode, or the file cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            encode_photo(image, file, path.suffix, like)
        part.replace(path)
    except UsageError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"cannot write {path} (mode {image.mode}): {reason}; choose another folder or PNG") from None
    finally:
        part.unlink(missing_ok=True)


def encode_photo(image: Image.Image, file: BinaryIO, suffix: str, like: Image.Image) -> None:
    """What `save_photo` does, into an open file: for members of a tar. Raises OSError where Pillow does."""
    suffix = suffix.lower()
    common = metadata.common(image, like)
    exif = metadata.exif(like)
    if suffix in JPEG:
        tables = getattr(like, "quantization", None) or None
        quality = {"qtables": tables} if tables else {"quality": 95}
        image.save(file, "JPEG", subsampling=0, exif=exif, **quality, **common)
        return
    if suffix not in LOSSLESS:
        raise UsageError(f"cannot write {suffix!r} without loss; choose one of {', '.join(sorted(LOSSLESS))}")
    match LOSSLESS[suffix]:
        case "PNG":
            # zlib's level 4 writes photos with a faint residual 2.5 times as fast as the default 6, and no larger.
            image.save(file, "PNG", pnginfo=metadata.png_text(like), exif=exif, compress_level=4, **common)
        case "WEBP":
            # `exact` keeps the colours under transparent pixels, so that the budget holds there too.
            image.save(file, "WEBP", lossless=True, exact=True, exif=exif, **common)
        case "TIFF":
            tags = metadata.tiff_tags(like)
            # Pillow can write EXIF and GPS directories into uncompressed TIFF only; keeping them is worth the space.
            nested = any(tag in tags for tag in metadata.DIRECTORIES)
            image.save(file, "TIFF", compression="raw" if nested else "tiff_adobe_deflate", exif=tags.tobytes(), **common)
        case _:
            image.save(file, "BMP", **{key: common[key] for key in ("dpi",) if key in common})
