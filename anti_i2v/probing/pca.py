"""Features as colours: the first three principal components as red, green and blue."""

from __future__ import annotations

import torch
from torch import Tensor


def colours(maps: Tensor) -> Tensor:
    """Project features to colours by one principal component analysis over all that is given.

    So a colour means the same in every picture and frame of one call, and nothing across calls.

    Args:
        maps: `(B, C, frames, h, w)`.

    Returns:
        `(B, 3, frames, h, w)` in [0, 1]: each component between its 1st and 99th percentile; grey where there is none.
    """
    vectors = maps.double().movedim(1, -1).reshape(-1, maps.shape[1])
    vectors = vectors - vectors.mean(0)
    _, axes = torch.linalg.eigh(vectors.T @ vectors)  # ascending
    axes = axes.flip(1)[:, :3]
    axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()  # an axis has no sign of its own
    values = vectors @ axes
    low, high = values.quantile(0.01, dim=0), values.quantile(0.99, dim=0)
    flat = high - low < 1e-9 * vectors.abs().max().clamp_min(1e-12)
    scaled = torch.where(flat, 0.5, ((values - low) / (high - low).clamp_min(1e-30)).clamp(0, 1))
    if scaled.shape[1] < 3:  # fewer channels than colours
        scaled = torch.cat([scaled, torch.full((len(scaled), 3 - scaled.shape[1]), 0.5, dtype=scaled.dtype, device=scaled.device)], 1)
    return scaled.reshape(maps.shape[0], *maps.shape[2:], 3).movedim(-1, 1).float().cpu()
