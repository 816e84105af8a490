"""How far a written file is from its photo: all pixels where a bound is promised, a sample of them for means."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops

from anti_i2v.errors import UsageError
from anti_i2v.imaging.cielab import Floats, ciede2000

SAMPLE = 2**15  # a colour difference costs more than all else here; their mean is within 1 % of that of all pixels
STRIP = 2**18  # pixels compared at once


@dataclass(frozen=True)
class Measurement:
    """One protected file against its photo."""

    steps: float  # largest |difference| of the re-read file over all pixels, in 1/255 steps
    psnr: float  # dB, over all pixels
    delta_e: float  # mean ΔE2000, of `SAMPLE` pixels on a regular grid if there are more
    survived: float  # share of the residual that is in the re-read file, of the same pixels; 1 where nothing was lost
    epsilon: float  # the budget, in 1/255 steps
    lossy: bool  # the codec changes pixels, too: `steps` contains its own change
    notes: tuple[str, ...] = ()


def measure(photo: Image.Image, protected: Image.Image, written: Image.Image, lossy: bool, epsilon: float) -> Measurement:
    """Compare the re-read file with the photo, as RGB (alpha is never changed).

    Args:
        photo: As it was read.
        protected: As it was given to the encoder.
        written: As it was read again.
        lossy: Whether the encoder changes pixels.
        epsilon: The budget, in 1/255 steps.

    Raises:
        UsageError: They are not of one size.
    """
    if written.size != photo.size:
        raise UsageError(f"the written file has size {written.size}, not {photo.size}; please report this")
    largest, square = change(photo, written)
    before, after = sample(photo), sample(written)
    return Measurement(
        steps=round(largest, 4),  # 16-bit values lie 1/257 apart, and what is below is float32's
        psnr=10 * math.log10(255**2 / square) if square else math.inf,
        delta_e=ciede2000(before, after),
        survived=_survival(before, sample(protected), after) if lossy else 1.0,
        epsilon=epsilon,
        lossy=lossy,
    )


def visibility(photo: Image.Image, protected: Image.Image) -> float:
    """Mean ΔE2000 of two pictures of one size, of `SAMPLE` pixels on a regular grid if there are more."""
    return ciede2000(sample(photo), sample(protected))


def sample(image: Image.Image) -> Floats:
    """`SAMPLE` pixels on a regular grid, or all if there are fewer: (3, pixels) in [0, 1]."""
    share = min(1.0, math.sqrt(SAMPLE / (image.width * image.height)))
    grid = max(1, round(share * image.width)), max(1, round(share * image.height))
    return np.ascontiguousarray(_levels(image.resize(grid, Image.Resampling.NEAREST)).reshape(-1, 3).T / np.float32(255))


def _survival(photo: Floats, protected: Floats, written: Floats) -> float:
    """The factor by which the residual is to be scaled to be nearest to what was written; 1 where there is none."""
    residual = protected - photo
    energy = float(np.square(residual).sum(dtype=np.float64))
    return float((residual * (written - photo)).sum(dtype=np.float64)) / energy if energy else 1.0


def _levels(image: Image.Image) -> Floats:
    """A picture as RGB without alpha: (H, W, 3) in 1/255 steps; grey of 16 bits keeps its depth.

    Raises:
        UsageError: Mode `I` or `F`, whose range is not defined.
    """
    if image.mode.startswith("I;16"):
        return np.repeat(np.asarray(image).astype(np.float32)[..., None] / np.float32(257), 3, axis=2)
    if image.mode in ("I", "F"):
        raise UsageError(f"a picture of mode {image.mode!r} has no defined range; convert it to 8 or 16 bits first")
    return np.asarray(_as("RGB", image)).astype(np.float32)


def _as(mode: str, image: Image.Image) -> Image.Image:
    """A picture in a mode without alpha; on the direct way from a palette, Pillow warns of transparency."""
    if image.mode == mode:
        return image
    return (image.convert("RGBA") if image.mode == "P" else image).convert(mode)


def change(photo: Image.Image, written: Image.Image) -> tuple[float, float]:
    """Largest and mean square difference of all values, in 1/255 steps; pictures of one size."""
    deep = any(image.mode.startswith("I;16") for image in (photo, written))
    mode = photo.mode if photo.mode == written.mode in ("RGB", "L") else "RGB"
    largest, square, count = 0.0, 0.0, 0
    for pair in _strips(photo, written):
        if deep:
            difference = np.abs(_levels(pair[1]) - _levels(pair[0])).ravel()
        else:  # Pillow's own, on its own memory, is faster; `convert` copies even where nothing is to be done
            a, b = (_as(mode, image) for image in pair)
            difference = np.asarray(ImageChops.difference(a, b)).ravel().astype(np.float32)
        # `@` would round by the number of threads, and a report would say otherwise on another machine.
        square += float(np.einsum("i,i->", difference, difference))
        largest, count = max(largest, float(difference.max())), count + difference.size
    return largest, square / count


def _strips(*images: Image.Image) -> Iterator[tuple[Image.Image, ...]]:
    """The same rows of each picture."""
    width, height = images[0].size
    rows = max(1, STRIP // width)
    for top in range(0, height, rows):
        yield tuple(image.crop((0, top, width, min(top + rows, height))) for image in images)
