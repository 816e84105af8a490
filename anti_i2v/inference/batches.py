"""What `apply` does to photos of bytes, for tensors in torch and differentiably: windows cut out, and their parameters laid back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from anti_i2v.imaging.tensors import resize
from anti_i2v.inference.windows import Window, find_windows, levels, mask
from anti_i2v.keys import PUBLIC_KEY, photo_key
from anti_i2v.spaces import SPACES

Windows = Sequence[Sequence[Window]]
"""For each photo of a batch its windows."""


@torch.no_grad()
def find_people(salience: torch.nn.Module, image: Tensor) -> list[list[Window]]:
    """The windows around the faces of each photo of a batch (B, 3, H, W) in [0, 1], strongest first."""
    height, width = image.shape[-2:]
    maps = [salience(resize(image.float(), *size)).float().cpu().numpy() for size in levels(height, width)]
    return [find_windows([level[i] for level in maps], height, width) for i in range(len(image))]


def photo_of(windows: Windows, device: torch.device) -> Tensor:
    """The photo of each window of a batch, (N,) int64."""
    return torch.tensor([i for i, those in enumerate(windows) for _ in those], dtype=torch.long, device=device)


def public_keys(image: Tensor) -> Tensor:
    """The photos' keys under the public secret: (B, 3, H, W) in [0, 1] → (B, 32); those of `protect_photo` for the same pixels."""
    pixels = (image.detach().float().clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    return torch.from_numpy(np.stack([photo_key(PUBLIC_KEY, photo) for photo in pixels])).to(image.device)


def cut(image: Tensor, windows: Windows, size: int) -> Tensor:
    """All windows of a batch at the working size: (B, 3, H, W) → (N, 3, size, size); beyond the frame, its edge goes on."""
    height, width = image.shape[-2:]
    parts = []
    for photo, those in zip(image, windows, strict=True):
        for window in those:
            rows, columns = (torch.arange(first, first + window.side, device=image.device) for first in (window.top, window.left))
            pixels = photo[:, rows.clamp(0, height - 1)[:, None], columns.clamp(0, width - 1)]
            parts.append(resize(pixels[None], size, size))
    return torch.cat(parts) if parts else image.new_zeros(0, 3, size, size)


def lay(image: Tensor, windows: Windows, parameters: Mapping[str, Tensor], epsilon: Tensor) -> Tensor:
    """The residual of a batch; see `apply.blend` for how windows overlap.

    Args:
        image: (B, 3, H, W) in [0, 1].
        windows: N in all.
        parameters: By space, (N, channels, h, w) in their order.
        epsilon: (B,) in 1/255 steps.

    Returns:
        (B, 3, H, W) float32, [0, 1] units, before the budget; differentiable in photo and parameters.
    """
    height, width = image.shape[-2:]
    fields: dict[str, list[Tensor]] = {name: [] for name in parameters}
    first = 0
    for those in windows:
        power, total = image.new_zeros(height, width, dtype=torch.float32), {name: _nothing(image, name) for name in parameters}
        for number, window in enumerate(those, first):
            if not window.meets(height, width):
                continue
            weight = _soft(window, image)
            power = power + _place(weight[None, None] ** 2, window, height, width)[0, 0]
            for name, values in parameters.items():
                field = SPACES[name].expand(values[number : number + 1], window.side, window.side) * weight
                total[name] = total[name] + _place(field, window, height, width)
        first += len(those)
        for name in parameters:
            fields[name].append(total[name] / power.clamp_min(1).sqrt())
    residual = torch.zeros_like(image, dtype=torch.float32)
    for name, parts in fields.items():
        residual = residual + SPACES[name].from_field(image, torch.cat(parts), epsilon)
    return residual


def _nothing(image: Tensor, name: str) -> Tensor:
    return image.new_zeros(1, SPACES[name].channels, *image.shape[-2:], dtype=torch.float32)


def _soft(window: Window, image: Tensor) -> Tensor:
    """The mask of a window, (side, side)."""
    line = mask(window.side)
    return torch.from_numpy(np.float32(window.strength) * line[:, None] * line).to(image.device)


def _place(patch: Tensor, window: Window, height: int, width: int) -> Tensor:
    """A patch (1, C, side, side) on an empty photo: (1, C, height, width)."""
    top, left, side = window.top, window.left, window.side
    inner = patch[..., max(0, -top) : height - top, max(0, -left) : width - left]
    edges = (max(0, left), max(0, width - left - side), max(0, top), max(0, height - top - side))
    return F.pad(inner, edges)
