"""How a JPEG was encoded, as the parameters of an encoder that does the same: tables, size of its colours, kind of its colours, order."""

from __future__ import annotations

from typing import Any

from PIL import Image

QUALITY = 95  # where there is nothing to go by


def like(photo: Image.Image, mode: str, quality: int | None = None) -> dict[str, Any]:
    """Parameters of Pillow's encoder.

    Colours have the size that they have in the photo, at a quality of the user's too: the residual is slow, so that half size costs it
    next to nothing (`benchmarks.formats`). They have full size where the photo is no JPEG, or their size is one that is not written.

    Args:
        photo: As `read_photo` gave it; what is no JPEG gives quality 95.
        mode: Of the picture that will be written.
        quality: 1–100, in place of the photo's own tables.
    """
    tables = _tables(photo, mode) if quality is None else None
    parameters: dict[str, Any] = {"qtables": tables} if tables else {"quality": quality or QUALITY}
    return parameters | ({"keep_rgb": True, "subsampling": 0} if _is_rgb(photo) else {"subsampling": _subsampling(photo)})


def is_progressive(photo: Image.Image) -> bool:
    """Whether a photo is a JPEG whose details come after the whole."""
    return bool(getattr(photo, "layer", ()) and photo.info.get("progressive"))


def _subsampling(photo: Image.Image) -> int:
    """Pillow's number for 4:2:0 and 4:2:2; 0 (4:4:4) for all else."""
    sizes = [layer[1:3] for layer in getattr(photo, "layer", ())]
    return {(2, 2): 2, (2, 1): 1}.get(sizes[0], 0) if len(sizes) == 3 and sizes[1:] == [(1, 1)] * 2 else 0


def _is_rgb(photo: Image.Image) -> bool:
    """Whether a JPEG holds red, green and blue, by the rule of libjpeg's `default_decompress_parms`."""
    layers = getattr(photo, "layer", ())
    if len(layers) != 3 or "jfif" in photo.info:
        return False
    return bool(photo.info["adobe_transform"] == 0 if "adobe_transform" in photo.info else [layer[0] for layer in layers] == [*b"RGB"])


def _tables(photo: Image.Image, mode: str) -> list[list[int]] | None:
    """The quantisation tables of a JPEG, one for each component that will be written; the last serves those after it."""
    tables: dict[int, list[int]] = getattr(photo, "quantization", None) or {}
    components = [tables.get(layer[3]) for layer in getattr(photo, "layer", ())]
    whole = [table for table in components if table and len(table) == 64]
    if not whole or len(whole) < len(components):
        return None
    # Print colours, and RGB, are written as they are, not as lightness and colour: the fine table is for all of them.
    used = whole[: 1 if mode in ("L", "CMYK") or _is_rgb(photo) else 3]
    while len(used) > 1 and used[-1] == used[-2]:
        used.pop()
    return used
