"""The L∞ budget: how far a protected photo may be from the photo, as a guarantee on the saved 8-bit file.

A soft bound (tanh) shapes the gradient; a hard one, in whole 8-bit levels, holds whatever the generator proposes. It is here twice:
`fit_to_budget`, differentiable, for training and tensors (torch), and `fit_steps_to_budget`, in bytes, for photos (NumPy). Both compute the
same numbers in the same order, so that training and the protection of a file cannot differ.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from anti_i2v.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

EPSILON_MAX = 32.0

# fp32 images on the grid k/255 come back from 255·x within 2e-5 levels; nearer than this counts as on the grid.
SNAP = 1e-4


def check_epsilon(epsilon: float) -> float:
    """Return epsilon (1/255 steps) if it is a number in 0 … 32.

    Raises:
        UsageError: It is not.
    """
    if not (math.isfinite(epsilon) and 0 <= epsilon <= EPSILON_MAX):
        raise UsageError(f"epsilon {epsilon} is outside 0–{EPSILON_MAX:g} (steps of the 8-bit pixel); 4 to 16 is usual")
    return float(epsilon)


def round_down(epsilon: float) -> np.float32:
    """The largest float32 that does not exceed epsilon: 1.9999999999 must not become 2.0.

    Raises:
        UsageError: Epsilon is outside 0–32.
    """
    value = np.float32(check_epsilon(epsilon))
    return np.nextafter(value, np.float32(0)) if float(value) > epsilon else value


def per_photo(epsilon: float | Tensor, image: Tensor) -> Tensor:
    """Epsilon as a (B,) float32 tensor on the image's device, one value a photo.

    Args:
        epsilon: One number, a scalar tensor or a (B,) tensor, in 1/255 steps.
        image: (B, …), read for B and the device only.

    Raises:
        UsageError: A number outside 0–32, or a tensor that is not () or (B,).
    """
    import torch

    if not isinstance(epsilon, torch.Tensor):
        return torch.tensor(round_down(epsilon), device=image.device).expand(len(image))
    if epsilon.shape not in ((), (len(image),)):
        raise UsageError(f"epsilon has shape {tuple(epsilon.shape)}; give one number or one for each of {len(image)} photos")
    return epsilon.to(image.device, torch.float32).expand(len(image))


def fit_to_budget(image: Tensor, residual: Tensor, epsilon: float | Tensor) -> Tensor:
    """Add a residual to a photo within epsilon, on the 8-bit grid.

    The value is `image + ε·tanh(residual / ε)` clamped to [0, 1], rounded to k/255 and then bounded to these levels:
    no further than ε from 255·image, and no further than ⌊ε⌋ from the 8-bit file of the unprotected photo. Where a
    photo off the grid leaves no such level (only for ε < ½), its own value stays. Every step but tanh is
    straight-through, so pixels at 0 and 1 pass gradient, and so do changes that rounding removes.

    Args:
        image: (B, C, H, W) in [0, 1], on the 8-bit grid or not.
        residual: Same shape (or broadcastable to it), [0, 1] units, any size.
        epsilon: The budget in 1/255 steps, one number or (B,); 0 returns the image, bit-equal.

    Returns:
        Protected photo, shape of `image`, float32 (float64 for float64 input), [0, 1]. Gradients: 1 to the image,
        `1 − tanh²` to the residual, 0 where epsilon is 0.

    Raises:
        UsageError: See `per_photo`.
    """
    import torch

    bound = per_photo(epsilon, image).view(-1, *[1] * (image.ndim - 1))
    with torch.autocast(image.device.type, enabled=False):
        dtype = torch.promote_types(image.dtype, torch.float32)
        image, residual, bound = image.to(dtype), residual.to(dtype), bound.to(dtype)
        # Where ε is 0 (or too small to divide by) the product with ε alone bounds value and gradient, without a NaN.
        scale = torch.where(bound > 1e-6, bound, 1.0) / 255
        soft = image + bound / 255 * torch.tanh(residual / scale)
        return _nearest_level(image.detach(), soft.detach(), bound) + (soft - soft.detach())


def _nearest_level(image: Tensor, target: Tensor, bound: Tensor) -> Tensor:
    """The allowed level nearest to `target` (all in [0, 1] units, bound in steps), as k/255; see `fit_to_budget`."""
    import torch

    level = image * 255
    # What an 8-bit file of the photo holds; two answers at a tie, which fp32 and fp64 savers may break differently.
    below, above = (level - SNAP).round(), (level + SNAP).round()
    level = torch.where((level - above).abs() < SNAP, above, level)
    whole = bound.floor()
    low = torch.maximum((level - bound).ceil(), above - whole).clamp(min=0)
    high = torch.minimum((level + bound).floor(), below + whole).clamp(max=255)
    # Not torch.clamp(low, high): its result where low > high would be wrong here.
    nearest = torch.minimum(torch.maximum((target * 255).round(), low), high) / 255
    return torch.where((low > high) | (bound == 0), image, nearest)


def fit_steps_to_budget(pixels: npt.NDArray[np.uint8], residual: npt.NDArray[np.float32], epsilon: np.float32) -> npt.NDArray[np.int8]:
    """The whole steps by which `fit_to_budget` changes an 8-bit photo, without what photos off the grid and gradients need.

    Args:
        pixels: Bytes of any shape.
        residual: Same shape, [0, 1] units, any size; it is overwritten.
        epsilon: In 1/255 steps; see `round_down`.

    Returns:
        Same shape, from −⌊ε⌋ to ⌊ε⌋, and no further than 0 and 255 allow.
    """
    level, full, whole = pixels.astype(np.float32), np.float32(255), np.floor(epsilon)
    # In the order of `fit_to_budget`: a sum in another order rounds to another level now and then.
    residual /= (epsilon if epsilon > 1e-6 else np.float32(1)) / full
    np.tanh(residual, out=residual)
    residual *= epsilon / full
    residual += level / full
    residual *= full
    np.rint(residual, out=residual)
    np.clip(residual, 0, 255, out=residual)
    residual -= level
    return np.clip(residual, -whole, whole, out=residual).astype(np.int8)
