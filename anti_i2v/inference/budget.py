"""The hard bound in NumPy: the levels of `anti_i2v.budget`, number by number in the same order."""

from __future__ import annotations

import numpy as np

from anti_i2v.imaging.cielab import Floats
from anti_i2v.inference.blocks import Steps
from anti_i2v.inference.planes import Pixels


def whole_steps(pixels: Pixels, residual: Floats, epsilon: np.float32) -> Steps:
    """What an 8-bit photo moves by; see `anti_i2v.budget.whole_steps`.

    Args:
        pixels: Bytes of any shape.
        residual: Same shape, [0, 1] units, any size; it is overwritten.
        epsilon: In 1/255 steps.

    Returns:
        Same shape, from −⌊ε⌋ to ⌊ε⌋, and no further than 0 and 255 allow.
    """
    level, full, whole = pixels.astype(np.float32), np.float32(255), np.floor(epsilon)
    residual /= (epsilon if epsilon > 1e-6 else np.float32(1)) / full
    np.tanh(residual, out=residual)
    residual *= epsilon / full
    residual += level / full
    residual *= full
    np.rint(residual, out=residual)
    np.clip(residual, 0, 255, out=residual)
    residual -= level
    return np.clip(residual, -whole, whole, out=residual).astype(np.int8)
