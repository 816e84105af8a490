"""The L∞ budget: how far a protected photo may be from the photo, as a guarantee on the saved 8-bit file.

A soft bound (tanh) shapes the gradient; a hard one, in whole 8-bit levels, holds whatever the generator proposes. Both
are here so that training and the protection of a file cannot differ.
"""

from __future__ import annotations

import torch
from torch import Tensor

from anti_i2v.epsilon import EPSILON_MAX, check_epsilon, no_more_than
from anti_i2v.errors import UsageError

__all__ = ["EPSILON_MAX", "SNAP", "check_epsilon", "fit_to_budget", "per_photo", "whole_steps"]

# fp32 images on the grid k/255 come back from 255·x within 2e-5 levels; nearer than this counts as on the grid.
SNAP = 1e-4


def per_photo(epsilon: float | Tensor, image: Tensor) -> Tensor:
    """Epsilon as a (B,) float32 tensor on the image's device, one value a photo.

    Args:
        epsilon: One number, a scalar tensor or a (B,) tensor, in 1/255 steps.
        image: (B, …), read for B and the device only.

    Raises:
        UsageError: A number outside 0–32, or a tensor that is not () or (B,).
    """
    if not isinstance(epsilon, Tensor):
        return torch.tensor(no_more_than(epsilon), device=image.device).expand(len(image))
    if epsilon.shape not in ((), (len(image),)):
        raise UsageError(f"epsilon has shape {tuple(epsilon.shape)}; give one number or one for each of {len(image)} photos")
    return epsilon.to(image.device, torch.float32).expand(len(image))


def fit_to_budget(image: Tensor, residual: Tensor, epsilon: float | Tensor) -> Tensor:
    """Add a residual to a photo within epsilon, on the 8-bit grid.

    The value is `image + ε·tanh(residual / ε)` clamped to [0, 1], rounded to k/255 and then held to these levels:
    no further than ε from 255·image, and no further than ⌊ε⌋ from the 8-bit file of the unprotected photo. Where a
    photo off the grid leaves no such level (only for ε < ½), its own value stays. Every step but tanh is
    straight-through, so pixels at 0 and 1 still learn, and so does whatever rounding hides.

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
    bound = per_photo(epsilon, image).view(-1, *[1] * (image.ndim - 1))
    with torch.autocast(image.device.type, enabled=False):
        dtype = torch.promote_types(image.dtype, torch.float32)
        image, residual, bound = image.to(dtype), residual.to(dtype), bound.to(dtype)
        # Where ε is 0 (or too small to divide by) the product with ε alone bounds value and gradient, without a NaN.
        scale = torch.where(bound > 1e-6, bound, 1.0) / 255
        soft = image + bound / 255 * torch.tanh(residual / scale)
        return _hard(image.detach(), soft.detach(), bound) + (soft - soft.detach())


def whole_steps(pixels: Tensor, residual: Tensor, epsilon: Tensor) -> Tensor:
    """What `fit_to_budget` moves an 8-bit photo by: the same levels, without what photos off the grid and gradients need.

    Args:
        pixels: (B, C, H, W) bytes.
        residual: Same shape, float32 in [0, 1] units, any size; it is overwritten.
        epsilon: (B,) float32 in 1/255 steps.

    Returns:
        Same shape, int8, from −⌊ε⌋ to ⌊ε⌋, and no further than 0 and 255 allow.
    """
    bound = epsilon.view(-1, 1, 1, 1)
    level = pixels.float()
    # In the order of `fit_to_budget`: a sum in another order rounds to another level now and then.
    soft = residual.div_(torch.where(bound > 1e-6, bound, 1.0) / 255).tanh_().mul_(bound / 255).add_(level / 255)
    steps = soft.mul_(255).round_().clamp_(0, 255).sub_(level)
    whole = bound.floor()
    return torch.minimum(torch.maximum(steps, -whole, out=steps), whole, out=steps).to(torch.int8)


def _hard(image: Tensor, wanted: Tensor, bound: Tensor) -> Tensor:
    """The allowed level nearest to `wanted` (all in [0, 1] units, bound in steps), as k/255; see `fit_to_budget`."""
    level = image * 255
    # What an 8-bit file of the photo holds; two answers at a tie, which fp32 and fp64 savers may break differently.
    below, above = (level - SNAP).round(), (level + SNAP).round()
    level = torch.where((level - above).abs() < SNAP, above, level)
    whole = bound.floor()
    low = torch.maximum((level - bound).ceil(), above - whole).clamp(min=0)
    high = torch.minimum((level + bound).floor(), below + whole).clamp(max=255)
    # Not torch.clamp(low, high): its result where low > high is not what is wanted here.
    held = torch.minimum(torch.maximum((wanted * 255).round(), low), high) / 255
    return torch.where((low > high) | (bound == 0), image, held)
