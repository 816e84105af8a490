"""How far a written file is from its photo: exact where a bound is promised, a sample where a mean is told."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops

from anti_i2v.errors import UsageError
from anti_i2v.images import JPEG, to_tensor
from anti_i2v.metrics import ciede2000

DELTA_E_PIXELS = 2**15  # a colour difference costs more than all else here; the mean of so many is within 1 % of that of all
STRIP = 2**18  # pixels at once


@dataclass(frozen=True)
class Measured:
    """One protected file against its photo."""

    steps: float  # largest |difference| of the re-read file over all pixels, in 1/255 steps
    psnr: float  # dB, over all pixels
    delta_e: float  # mean ΔE2000, of `DELTA_E_PIXELS` pixels on a regular grid if there are more
    jpeg: bool  # written as JPEG: `steps` contains the codec's own change
    notes: tuple[str, ...] = ()


def measure(photo: Image.Image, written: Image.Image, suffix: str, notes: tuple[str, ...]) -> Measured:
    """Compare the re-read file with the photo, as RGB (alpha is never changed).

    Raises:
        UsageError: They are not of one size.
    """
    if written.size != photo.size:
        raise UsageError(f"the written file has size {written.size}, not {photo.size}; please report this")
    largest, square = change(photo, written)
    share = min(1.0, math.sqrt(DELTA_E_PIXELS / (photo.width * photo.height)))
    grid = max(1, round(share * photo.width)), max(1, round(share * photo.height))
    a, b = (to_tensor(image.resize(grid, Image.Resampling.NEAREST))[None] for image in (photo, written))
    return Measured(
        steps=largest,
        psnr=10 * math.log10(255**2 / square) if square else math.inf,
        delta_e=float(ciede2000(a, b)),
        jpeg=suffix.lower() in JPEG,
        notes=notes,
    )


def change(photo: Image.Image, written: Image.Image) -> tuple[float, float]:
    """Largest and mean square difference of all values, in 1/255 steps; pictures of one size."""
    if any(image.mode.startswith("I;16") for image in (photo, written)):
        parts = [(to_tensor(b) - to_tensor(a)).abs().mul(255) for a, b in _strips(photo, written)]
        values = sum(part.numel() for part in parts)
        return max(float(part.max()) for part in parts), sum(float(part.double().square().sum()) for part in parts) / values
    mode = photo.mode if photo.mode == written.mode in ("RGB", "L") else "RGB"
    counts = np.zeros(256, np.int64)
    for a, b in _strips(photo, written):
        # Pillow's own, on its own memory: as arrays, the two pictures would cost twice as much.
        counts += np.reshape(ImageChops.difference(a.convert(mode), b.convert(mode)).histogram(), (-1, 256)).sum(0)
    return float(np.flatnonzero(counts)[-1]), float(counts @ np.arange(256) ** 2 / counts.sum())


def _strips(*images: Image.Image) -> Iterator[tuple[Image.Image, ...]]:
    """The same rows of each picture."""
    width, height = images[0].size
    rows = max(1, STRIP // width)
    for top in range(0, height, rows):
        yield tuple(image.crop((0, top, width, min(top + rows, height))) for image in images)
