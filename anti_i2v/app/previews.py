"""Small pictures of a photo for the page, the right way up. They are for the eye only; the file to download is another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageChops

from anti_i2v.bulk.photo import to_writable_mode
from anti_i2v.imaging.metadata.tiff import ORIENTATION
from anti_i2v.inference.planes import TURNS

MAX_SIDE = 1600  # pixels of the longer side at most
GAIN = 10  # how much stronger the residual is shown
GREY = 128  # where nothing changed


def preview(photo: Image.Image) -> Image.Image:
    """A photo as it is shown: RGB or L, upright, at most `MAX_SIDE` pixels long; transparent parts are white."""
    return _small(_plain(photo), photo)


def residual(photo: Image.Image, protected: Image.Image) -> Image.Image:
    """What the protection changed, `GAIN` times as strong, around a middle grey; as `preview` otherwise. Both are of one size."""
    before, after = _plain(photo), _plain(protected)
    if before.mode != after.mode:  # a palette became colours
        before, after = before.convert("RGB"), after.convert("RGB")
    # Amplified before it is made small: otherwise the rounding of the small picture would be amplified too.
    change = ImageChops.subtract(after, before, scale=1 / GAIN, offset=GREY)
    change.info.pop("icc_profile", None)
    return _small(change, photo)


def upright_size(photo: Image.Image) -> tuple[int, int]:
    """Pixels across and down, the right way up."""
    return photo.size if _orientation(photo) < 5 else photo.size[::-1]


def save(picture: Image.Image, path: Path) -> Path:
    """Write a picture for the browser, with its colour profile; returns the path."""
    picture.save(path, "JPEG", quality=95, subsampling=0, icc_profile=picture.info.get("icc_profile"))
    return path


def _plain(photo: Image.Image) -> Image.Image:
    """8-bit grey or colours as they lie in the file, without alpha."""
    if photo.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(photo) // 257).astype(np.uint8))
    photo, _ = to_writable_mode(photo, ".png")  # print colours become RGB
    if photo.has_transparency_data:
        colours = photo.convert("RGBA")
        opaque = Image.alpha_composite(Image.new("RGBA", photo.size, "white"), colours).convert("L" if photo.mode == "LA" else "RGB")
        opaque.info = dict(photo.info)
        return opaque
    return photo if photo.mode in ("L", "RGB") else photo.convert("L" if photo.mode == "1" else "RGB")


def _small(picture: Image.Image, photo: Image.Image) -> Image.Image:
    """A copy made small and turned as the photo's orientation says."""
    small = picture.copy()
    small.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.BOX)
    if (orientation := _orientation(photo)) == 1:
        return small
    upright = Image.fromarray(np.ascontiguousarray(TURNS[orientation][0](np.asarray(small))))
    upright.info = {key: value for key, value in small.info.items() if key == "icc_profile"}
    return upright


def _orientation(photo: Image.Image) -> int:
    tag = photo.getexif().get(ORIENTATION, 1)
    return tag if tag in TURNS else 1
