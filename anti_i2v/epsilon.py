"""The unit of the budget, one step of an 8-bit pixel, as far as torch and NumPy have to agree on it."""

from __future__ import annotations

import math

import numpy as np

from anti_i2v.errors import UsageError

EPSILON_MAX = 32.0

# a*/b* units that move the most moved RGB channel by one 8-bit step. Measured on four photographs (scikit-image's
# astronaut, coffee, chelsea, rocket; 160 × 160, random hue directions, shifts of 4 units): the median pixel moves by
# 1.59–1.73 steps a unit (10–90 %: 1.1–3.3, most in saturated blues); 1 / 1.66 = 0.6.
GAIN = 0.6


def check_epsilon(epsilon: float) -> float:
    """Return epsilon (1/255 steps) if it is a number in 0 … 32.

    Raises:
        UsageError: It is not.
    """
    if not (math.isfinite(epsilon) and 0 <= epsilon <= EPSILON_MAX):
        raise UsageError(f"epsilon {epsilon} is outside 0–{EPSILON_MAX:g} (steps of the 8-bit pixel); 4 to 16 is usual")
    return float(epsilon)


def no_more_than(epsilon: float) -> np.float32:
    """The largest float32 that does not exceed epsilon: 1.9999999999 must not become 2.0.

    Raises:
        UsageError: Epsilon is outside 0–32.
    """
    value = np.float32(check_epsilon(epsilon))
    return np.nextafter(value, np.float32(0)) if float(value) > epsilon else value
