"""What the page shows of a photo: small pictures the right way up. They are for the eye only; the file to download is another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageChops

from anti_i2v.bulk.photo import prepare
from anti_i2v.imaging.metadata.info import ORIENTATION
from anti_i2v.inference.planes import TURNS

SIDE = 1600  # pixels of the longer side at most
TIMES = 10  # how much stronger the residual is shown
GREY = 128  # where nothing changed


def preview(photo: Image.Image) -> Image.Image:
    """A photo as it is seen: RGB or L, upright, at most `SIDE` pixels long; transparent parts are white."""
    return _small(_plain(photo), photo)


def residual(photo: Image.Image, protected: Image.Image) -> Image.Image:
    """What the protection changed, `TIMES` times as strong, around a middle grey; as `preview` otherwise.

    Args:
        photo: As it was read.
        protected: Of the same size.
    """
    before, after = _plain(photo), _plain(protected)
    if before.mode != after.mode:  # a palette became colours
        before, after = before.convert("RGB"), after.convert("RGB")
    # Before it is made small: rounding to whole steps after that would be shown ten times as large, too.
    change = ImageChops.subtract(after, before, scale=1 / TIMES, offset=GREY)
    change.info.pop("icc_profile", None)
    return _small(change, photo)


def seen_size(photo: Image.Image) -> tuple[int, int]:
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
    photo, _ = prepare(photo, ".png")  # print colours become RGB
    if photo.has_transparency_data:
        colours = photo.convert("RGBA")
        seen = Image.alpha_composite(Image.new("RGBA", photo.size, "white"), colours).convert("L" if photo.mode == "LA" else "RGB")
        seen.info = dict(photo.info)
        return seen
    return photo if photo.mode in ("L", "RGB") else photo.convert("L" if photo.mode == "1" else "RGB")


def _small(picture: Image.Image, photo: Image.Image) -> Image.Image:
    """A copy made small and turned as the photo's orientation says."""
    small = picture.copy()
    small.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    if (orientation := _orientation(photo)) == 1:
        return small
    turned = Image.fromarray(np.ascontiguousarray(TURNS[orientation][0](np.asarray(small))))
    turned.info = {key: value for key, value in small.info.items() if key == "icc_profile"}
    return turned


def _orientation(photo: Image.Image) -> int:
    tag = photo.getexif().get(ORIENTATION, 1)
    return tag if tag in TURNS else 1
