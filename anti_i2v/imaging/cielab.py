"""sRGB and CIELAB in NumPy, float32, and the CIEDE2000 colour difference: what protecting and measuring a file need without torch.

`metrics` has the same difference for training, in float64 and with gradients; they agree within 1e-3.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

# Linear sRGB → XYZ under D65 (IEC 61966-2-1, in the digits that kornia and scikit-image use), each row over its white.
WHITE = np.array([0.95047, 1.0, 1.08883], np.float32)
TO_XYZ = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]], np.float32)
TO_XYZ /= WHITE[:, None]
KNEE, BEND = 0.04045, 0.008856  # of sRGB and of the cube root, below which they are lines
FAR = 25.0**7


def linear(values: Floats) -> Floats:
    """Linear light of sRGB values in [0, 1], any shape; a new array."""
    curve = ((np.maximum(values, np.float32(KNEE)) + np.float32(0.055)) / np.float32(1.055)) ** np.float32(2.4)
    return np.where(values > KNEE, curve, values / np.float32(12.92))


def cube_root(light: Floats) -> Floats:
    """The f of CIELAB: a cube root, below 0.008856 a line; any shape, a new array."""
    # The two meet at the bend, so each stays there while the other runs: ten times as fast as choosing value by value.
    line = np.minimum(light, np.float32(BEND))
    line -= np.float32(BEND)
    line *= np.float32(7.787)
    root = np.maximum(light, np.float32(BEND))
    np.cbrt(root, out=root)
    root += line
    return root


def lab(values: Floats) -> Floats:
    """CIELAB of sRGB values: (3, …) in [0, 1] → (3, …), L* 0–100."""
    x, y, z = cube_root(np.einsum("xc,c...->x...", TO_XYZ, linear(values)))
    return np.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)))


def ciede2000(a: Floats, b: Floats) -> float:
    """Mean CIEDE2000 of two sRGB pictures, (3, …) in [0, 1]; 1 is just noticeable, side by side."""
    return float(delta_e2000(lab(a), lab(b)).mean(dtype=np.float64))


def delta_e2000(a: Floats, b: Floats) -> Floats:
    """CIEDE2000 of two CIELAB pictures, kL = kC = kH = 1 (Sharma, Wu and Dalal 2005, eqs. 2–22): (3, …) each → (…)."""
    (l1, a1, b1), (l2, a2, b2) = a, b
    c7 = ((np.hypot(a1, b1) + np.hypot(a2, b2)) / 2) ** 7
    stretch = 1.5 - 0.5 * np.sqrt(c7 / (c7 + np.float32(FAR)))
    a1, a2 = stretch * a1, stretch * a2
    c1, c2 = np.hypot(a1, b1), np.hypot(a2, b2)
    h1, h2 = np.arctan2(b1, a1) % math.tau, np.arctan2(b2, a2) % math.tau

    # Hues are angles: differences go the short way round, and a grey has no hue at all.
    grey, turn, total = c1 * c2 == 0, h2 - h1, h1 + h2
    far = np.abs(turn) > math.pi
    turn = np.where(grey, 0, turn - far * np.copysign(math.tau, turn))
    hue = np.where(grey, total, (total + far * np.copysign(math.tau, math.tau - total)) / 2)

    dl, dc, dh = l2 - l1, c2 - c1, 2 * np.sqrt(c1 * c2) * np.sin(turn / 2)
    offset, chroma = ((l1 + l2) / 2 - 50) ** 2, (c1 + c2) / 2
    weight = (
        1
        - 0.17 * np.cos(hue - math.radians(30))
        + 0.24 * np.cos(2 * hue)
        + 0.32 * np.cos(3 * hue + math.radians(6))
        - 0.20 * np.cos(4 * hue - math.radians(63))
    )
    c7 = chroma**7
    bend = math.radians(60) * np.exp(-(((hue * (180 / math.pi) - 275) / 25) ** 2))
    rotation = -2 * np.sqrt(c7 / (c7 + np.float32(FAR))) * np.sin(bend)
    lightness = dl / (1 + 0.015 * offset / np.sqrt(20 + offset))
    chroma, hue = dc / (1 + 0.045 * chroma), dh / (1 + 0.015 * chroma * weight)
    # Rounding may take the sum of equal colours below zero.
    difference: Floats = np.sqrt(np.maximum(lightness**2 + chroma**2 + hue**2 + rotation * chroma * hue, 0))
    return difference
