"""Pictures ↔ tensors, and the clamp and the resize that gradients pass."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from anti_i2v.errors import UsageError


def unit(x: Tensor) -> Tensor:
    """Clamp to [0, 1] with a straight-through gradient (torch's own clamp has none at 0 and 1).

    Args:
        x: Any shape, [0, 1] units, possibly out of range.

    Returns:
        Same shape, exactly `x.clamp(0, 1)`; d/dx = 1 everywhere.
    """
    return x.detach().clamp(0, 1) + (x - x.detach())


def resize(image: Tensor, height: int, width: int) -> Tensor:
    """Antialiased bilinear resize, differentiable; the image itself if the size already matches.

    Args:
        image: (B, C, H, W), any range.
        height: New height in pixels.
        width: New width in pixels.

    Returns:
        (B, C, height, width), never beyond the range of `image`.
    """
    if image.shape[-2:] == (height, width):
        return image
    return F.interpolate(image, (height, width), mode="bilinear", antialias=True, align_corners=False)


def to_tensor(image: Image.Image) -> Tensor:
    """A picture as RGB: (3, H, W) float32 in [0, 1]; alpha is left out, grey is repeated, 16-bit grey keeps its depth.

    Raises:
        UsageError: Mode `I` or `F`, whose range is not defined.
    """
    if image.mode.startswith("I;16"):
        grey = torch.from_numpy(np.asarray(image).astype(np.float32) / np.float32(65535))
        return grey.expand(3, -1, -1).contiguous()
    if image.mode in ("I", "F"):
        raise UsageError(f"a picture of mode {image.mode!r} has no defined range; convert it to 8 or 16 bits first")
    pixels = np.array(image if image.mode == "RGB" else image.convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255


def from_bytes(pixels: Tensor, device: torch.device) -> Tensor:
    """(H, W, C) bytes → (1, C, H, W) float32 in [0, 1] on a device; to a GPU from pinned memory, so that the copy does not block."""
    source = pixels.pin_memory() if device.type == "cuda" else pixels
    return source.to(device, non_blocking=True).permute(2, 0, 1)[None].float().contiguous().div_(255)


def to_pil(image: Tensor) -> Image.Image:
    """A (3, H, W) tensor in [0, 1] as an RGB picture; exact for tensors on the 8-bit grid."""
    pixels = (image.detach().float().clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().cpu().numpy(), mode=None)
