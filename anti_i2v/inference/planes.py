"""A photo of any Pillow mode, taken apart and put together again.

The parts are the colours that a network looks at and the 8-bit planes that the file stores and may change. They differ
by mode, and the budget must be counted in stored values whatever the mode.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from anti_i2v.errors import UsageError
from anti_i2v.imaging.metadata.collect import info_without_pictures
from anti_i2v.inference.blocks import Factor, Steps, add_steps
from anti_i2v.inference.colours import to_srgb

Pixels = npt.NDArray[np.uint8]
Scalar = TypeVar("Scalar", bound=np.generic)
Turn = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
ORIENTATION = 274  # EXIF tag
GREY_STRIP = 2**16  # pixels compared at once: within the cache
# How stored rows and columns become an upright picture, and back, by value of the tag.
TURNS: dict[int, tuple[Turn, Turn]] = {
    2: (lambda a: a[:, ::-1], lambda a: a[:, ::-1]),
    3: (lambda a: a[::-1, ::-1], lambda a: a[::-1, ::-1]),
    4: (lambda a: a[::-1], lambda a: a[::-1]),
    5: (lambda a: a.swapaxes(0, 1), lambda a: a.swapaxes(0, 1)),
    6: (lambda a: np.rot90(a, -1), lambda a: np.rot90(a, 1)),
    7: (lambda a: a.swapaxes(0, 1)[::-1, ::-1], lambda a: a.swapaxes(0, 1)[::-1, ::-1]),
    8: (lambda a: np.rot90(a, 1), lambda a: np.rot90(a, -1)),
}


@dataclass(frozen=True)
class Split:
    """A photo taken apart by `split`, each block of it as one pixel.

    Attributes:
        colour: (H, W, 3) sRGB bytes, what a viewer sees without alpha; see `colours.to_srgb`.
        stored: (H, W, C) bytes that may change, in the photo's own colour space: RGB, grey (C = 1, also where a grey photo is stored
            as RGB), or 255 − CMY, so that more is lighter everywhere.
        join: Makes the picture from the whole steps by which `stored` changes, (H, W, C), with everything else as it was.
        orientation: EXIF orientation, 1–8.
    """

    colour: Pixels
    stored: Pixels
    join: Callable[[Steps], Image.Image]
    orientation: int = 1

    def upright(self, pixels: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        """Stored layout → the right way up."""
        return np.ascontiguousarray(TURNS[self.orientation][0](pixels)) if self.orientation in TURNS else pixels

    def as_stored(self, pixels: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        """The inverse of `upright`."""
        return np.ascontiguousarray(TURNS[self.orientation][1](pixels)) if self.orientation in TURNS else pixels


def split(photo: Image.Image, block: Factor = (1, 1)) -> Split:
    """Take a photo apart; `photo` is not changed.

    A photo with a profile or code points of other colours than sRGB's is looked at in sRGB and changed in its own values. What a network
    proposes for a colour, in steps of sRGB, is thus added in steps of that space. Where primaries lie further apart they are larger ones:
    near grey, a step of red in Display P3 is 1.2 of sRGB, in Adobe RGB 1.4. The bound holds all the same, in what the file stores.

    Args:
        photo: Of any mode but I and F.
        block: Pixels across and down that are seen as their mean and change together.

    Raises:
        UsageError: An empty picture, or a mode without a defined range (I, F) or without a way to RGB.
    """
    if not photo.width or not photo.height:
        raise UsageError(f"the photo is empty ({photo.width} × {photo.height} pixels)")
    if photo.mode in ("I", "F"):
        raise UsageError(f"a photo of mode {photo.mode!r} has no defined range; convert it to 8 or 16 bits first")
    tag = photo.getexif().get(ORIENTATION, 1)
    orientation = tag if isinstance(tag, int) else 1
    whole = photo if photo.mode.startswith("I;16") else _changeable(photo)
    small = _without_alpha(whole).reduce(block)
    colour, stored = np.array(to_srgb(small, photo.info)), np.atleast_3d(np.array(small))[..., :3]
    colours = stored.shape[2]
    if whole.mode == "CMYK":
        stored = 255 - stored
    elif colours == 3 and is_grey(small) and is_grey(whole):  # the small one first: it tells most colour photos at once
        stored = stored[..., 1:2].copy()

    def join(steps: Steps) -> Image.Image:
        if whole.mode == "CMYK":
            steps = -steps
        steps = steps.repeat(colours // steps.shape[2], axis=2)
        unchanged = len(whole.getbands()) - colours  # alpha, black
        return _with_metadata(add_steps(whole, np.pad(steps, ((0, 0), (0, 0), (0, unchanged))), block), photo)

    return Split(colour, stored, join, orientation)


def is_grey(image: Image.Image) -> bool:
    """Whether a picture stored as RGB or RGBA is black and white: no red or blue is more than one step from its green.

    Grey JPEGs, AVIFs and PNGs are exactly grey once decoded; of a grey lossy WebP, 1 % of the pixels have a green one step less.
    """
    bands, rows = len(image.getbands()), max(1, GREY_STRIP // image.width)
    red_green_or_green_blue = np.tile(np.arange(bands) < 2, rows * image.width)
    for top in range(0, image.height, rows):
        values = np.asarray(image.crop((0, top, image.width, min(top + rows, image.height)))).ravel()
        # All neighbouring bytes at once, also those that are not compared: many times as fast as picking them out first.
        apart = values[1:] - values[:-1]
        apart += 1  # 0, 1 or 2 (modulo 256) for neighbours that are one step apart at most
        if (red_green_or_green_blue[: len(apart)] & (apart > 2)).any():
            return False
    return True


def _without_alpha(photo: Image.Image) -> Image.Image:
    """What is seen, in 8 bits: reduced together with alpha, colours would be weighted by it."""
    if photo.mode.startswith("I;16"):
        eight = np.asarray(photo).astype(np.uint32)
        eight += 128
        eight //= 257
        return Image.fromarray(eight.astype(np.uint8))
    return photo.convert(photo.mode.rstrip("A")) if photo.mode in ("RGBA", "LA") else photo


def _changeable(photo: Image.Image) -> Image.Image:
    """The photo in the nearest mode whose values can be changed one by one."""
    keyed = "transparency" in photo.info
    if (photo.mode in ("RGB", "L") and not keyed) or photo.mode in ("RGBA", "LA", "CMYK"):
        return photo
    target = {"1": "L", "L": "LA"}.get(photo.mode, "RGBA" if keyed or photo.mode in ("PA", "RGBa", "La") else "RGB")
    try:
        if photo.mode == "La":
            return photo.convert("LA")
        # A transparent colour cannot be told from its neighbours once all colours have changed: it becomes alpha.
        return photo.convert(target)
    except ValueError:
        raise UsageError(f"a photo of mode {photo.mode!r} cannot be converted; save it as RGB first") from None


def _with_metadata(image: Image.Image, photo: Image.Image) -> Image.Image:
    """Give a new picture the metadata of the photo it came from, without the pictures of the photo in it."""
    info = dict(photo.info)
    if image.mode != photo.mode:
        info.pop("transparency", None)
    if "exif" not in info and len(exif := photo.getexif()):
        info["exif"] = exif.tobytes()
    image.info = info_without_pictures(info)
    return image
