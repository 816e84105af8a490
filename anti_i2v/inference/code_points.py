"""Colours that a file describes by numbers: which sRGB colours a viewer shows for values of given primaries and a given curve.

AVIF, HEIC and PNG's cICP name primaries and curve by their code points in ITU-T H.273; PNG's older gAMA and cHRM give them as numbers.
The way to sRGB, of each pixel:

1. Its values become light by the curve, 1.0 being white. PQ (SMPTE ST 2084) and HLG (ITU-R BT.2100) reach beyond it: their reference
   white is at 203 cd/m² (ITU-R BT.2408), HLG being shown on a display of 1000 cd/m². BT.709 and its kin are taken for sRGB's curve, as
   viewers do; a camera's curve is not that of a display.
2. A 3 × 3 matrix takes the light from the primaries to sRGB's, with Bradford's adaptation where the whites differ.
3. What is below 0 or above 1.0 is clipped, and sRGB's curve gives the byte.

All of it runs in whole numbers, so that every machine sees the same colours and makes the same key of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image

Chromaticities = tuple[float, ...]
"""x and y of white, red, green and blue, in the order of PNG's cHRM."""
Curve = Callable[[float], float]
"""Value in [0, 1] → light, 1.0 being white."""
Integers = npt.NDArray[np.int64]

D65, C, DCI = (0.3127, 0.329), (0.31, 0.316), (0.314, 0.351)
BT_709 = (*D65, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
BT_601 = (*D65, 0.63, 0.34, 0.31, 0.595, 0.155, 0.07)
P3 = (0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
# ITU-T H.273, table 2; 2 is "unspecified".
PRIMARIES: dict[int, Chromaticities] = {
    1: BT_709,
    2: BT_709,
    4: (*C, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (*D65, 0.64, 0.33, 0.29, 0.6, 0.15, 0.06),
    6: BT_601,
    7: BT_601,
    8: (*C, 0.681, 0.319, 0.243, 0.692, 0.145, 0.049),
    9: (*D65, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046),
    10: (1 / 3, 1 / 3, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0),
    11: (*DCI, *P3),
    12: (*D65, *P3),
    22: (*D65, 0.63, 0.34, 0.295, 0.605, 0.155, 0.077),
}
WHITE, HLG_PEAK, HLG_GAMMA, HLG = 203.0, 1000.0, 1.2, 18  # cd/m²; the exponent for such a display; HLG's code point
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
ONE, FINE = 2**16, 2**14  # light of 1.0, and 1.0 of the matrix, as whole numbers
STRIP = 2**16  # pixels at once: within the cache
ALIKE = 2  # steps of 255 up to which a description is taken for sRGB's, as in `profiles`


def srgb(value: float) -> float:
    """IEC 61966-2-1."""
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4


def pq(value: float) -> float:
    """SMPTE ST 2084, section 5.2."""
    root = value ** (32 / 2523)
    return float(10_000 / WHITE * (max(0.0, root - 107 / 128) / (2413 / 128 - 2392 / 128 * root)) ** (8192 / 1305))


def hlg(value: float) -> float:
    """Of the scene: the inverse of ITU-R BT.2100's OETF, in [0, 1]."""
    a, b = 0.17883277, 0.28466892
    return value**2 / 3 if value <= 0.5 else (math.exp((value - 0.5 + a * math.log(4 * a)) / a) + b) / 12


def power(gamma: float) -> Curve:
    """The curve x ↦ x^gamma."""
    return lambda value: float(value**gamma)


# ITU-T H.273, table 3, without what is reserved.
CURVES: dict[int, Curve] = dict.fromkeys((1, 2, 6, 7, 11, 12, 13, 14, 15), srgb)
CURVES |= {4: power(2.2), 5: power(2.8), 8: power(1.0), 16: pq, HLG: hlg, 17: lambda value: 52.37 / 48 * value**2.6}
CURVES |= {9: lambda value: 100.0 ** (value - 1) if value else 0.0, 10: lambda value: 10 ** (2.5 * (value - 1)) if value else 0.0}


def is_known(points: bytes) -> bool:
    """Whether the description is understood: primaries, curve, a matrix of 0 (RGB), and whether 0–255 is the whole range."""
    return points[0] in PRIMARIES and points[1] in CURVES and points[2] == 0 and points[3] <= 1


def by_points(image: Image.Image, points: bytes) -> Image.Image:
    """RGB as a viewer shows it that heeds four code points which are known; `image` itself where they are in effect sRGB's."""
    primaries, curve, _, whole = points
    return _shown(image, _Way(PRIMARIES[primaries], curve, None, whole == 1))


def by_gamma(image: Image.Image, gamma: object, chromaticities: object) -> Image.Image:
    """The same for PNG's gAMA (1 / exponent) and cHRM, either of them None for sRGB's; nonsense is passed over."""
    exponent = 1 / gamma if isinstance(gamma, float) and 0.1 <= gamma <= 10 else None
    found = tuple(map(float, chromaticities)) if isinstance(chromaticities, tuple) and len(chromaticities) == 8 else BT_709
    return _shown(image, _Way(found, 13, exponent, True)) if exponent or found != BT_709 else image


@dataclass(frozen=True)
class _Way:
    """From the values of a file to light: `exponent` takes the place of the curve unless it is None."""

    chromaticities: Chromaticities
    curve: int
    exponent: float | None
    whole_range: bool


@dataclass(frozen=True)
class _Tables:
    """A way in whole numbers: `light` of each value, times `ONE`; `matrix` and, for HLG alone, weights of luminance times `FINE`."""

    light: Integers
    matrix: Integers
    luminance: Integers | None

    def apply(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """(N, 3) → (N, 3) sRGB."""
        light = self.light[pixels]
        if self.luminance is not None:
            light = light * _display()[np.clip(light @ self.luminance // FINE, 0, ONE)][:, None] // ONE
        return np.asarray(_encode()[np.clip(light @ self.matrix.T // FINE, 0, ONE)])


def _shown(image: Image.Image, way: _Way) -> Image.Image:
    tables = _tables(way)
    if tables is None:
        return image
    image = image if image.mode == "RGB" else image.convert("RGB")
    result = Image.new("RGB", image.size)
    rows = max(1, STRIP // image.width)
    for top in range(0, image.height, rows):
        strip = np.asarray(image.crop((0, top, image.width, min(top + rows, image.height))))
        result.paste(Image.fromarray(tables.apply(strip.reshape(-1, 3)).reshape(strip.shape)), (0, top))
    return result


@lru_cache(maxsize=4)
def _tables(way: _Way) -> _Tables | None:
    """None where the primaries span no colours, or what is shown is in effect sRGB's."""
    curve = power(way.exponent) if way.exponent else CURVES[way.curve]
    black, steps = (0, 255) if way.whole_range else (16, 219)
    values = [min(max((value - black) / steps, 0.0), 1.0) for value in range(256)]
    try:
        to_xyz = _to_xyz(way.chromaticities)
        matrix = np.linalg.inv(_to_xyz(BT_709)) @ _adaptation(way.chromaticities) @ to_xyz
    except (np.linalg.LinAlgError, ZeroDivisionError):
        return None
    if not np.abs(matrix).max() < 100:  # also where it is no number
        return None
    is_hlg = way.curve == HLG and not way.exponent
    tables = _Tables(_whole([curve(v) for v in values], ONE), _whole(matrix, FINE), _whole(to_xyz[1], FINE) if is_hlg else None)
    sample = np.indices((17, 17, 17)).reshape(3, -1).T * 255 // 16
    apart = np.abs(tables.apply(sample.astype(np.uint8)).astype(np.int64) - sample).max()
    return tables if apart > ALIKE else None


def _whole(values: object, one: int) -> Integers:
    return np.rint(np.asarray(values, np.float64) * one).astype(np.int64)


def _to_xyz(chromaticities: Chromaticities) -> npt.NDArray[np.float64]:
    """The matrix from light of these primaries to CIE XYZ, white having Y = 1 (SMPTE RP 177)."""
    xyz = np.array([(x / y, 1, (1 - x - y) / y) if y else (x, y, 1 - x - y) for x, y in zip(*[iter(chromaticities)] * 2, strict=True)]).T
    white, primaries = xyz[:, 0], xyz[:, 1:]
    return np.asarray(primaries * np.linalg.solve(primaries, white))


def _adaptation(chromaticities: Chromaticities) -> npt.NDArray[np.float64]:
    """From light under a white to light under D65, by Bradford's cones."""
    cones = [BRADFORD @ (x / y, 1, (1 - x - y) / y) for x, y in (chromaticities[:2], D65)]
    return np.asarray(np.linalg.inv(BRADFORD) @ np.diag(cones[1] / cones[0]) @ BRADFORD)


@lru_cache(maxsize=1)
def _encode() -> npt.NDArray[np.uint8]:
    """The byte of sRGB for each light from 0 to `ONE`."""
    light = [i / ONE for i in range(ONE + 1)]
    return np.array([round(255 * (12.92 * x if x <= 0.0031308 else 1.055 * x ** (1 / 2.4) - 0.055)) for x in light], np.uint8)


@lru_cache(maxsize=1)
def _display() -> Integers:
    """HLG: by what a display of `HLG_PEAK` multiplies light of the scene, for each luminance from 0 to `ONE`."""
    return _whole([HLG_PEAK / WHITE * (i / ONE) ** (HLG_GAMMA - 1) for i in range(ONE + 1)], ONE)
