"""Features as maps: which token lies where in which latent frame, and how much of it a mask covers."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from anti_i2v.errors import UsageError

PARTS = ("first", "later")
"""Latent frame 0, in most pipelines the photo itself, and all that follow; a clip of one latent frame has no later ones."""


def as_map(features: Tensor, frames: int, height: int, width: int, tap: str = "features") -> Tensor:
    """Features as `(B, channels, frames, h, w)`.

    Args:
        features: `(B, tokens, channels)` of a transformer, tokens frame after frame and row after row, or
            `(B, channels, frames, h, w)` already; h = 1 means h · w tokens in a row.
        frames: Latent frames that tokens cover.
        height: Of the photo in pixels; with `width` it says how many rows the tokens of a frame make.
        width: Of the photo in pixels.
        tap: What messages call the layer.

    Raises:
        UsageError: The features are no picture of this shape.
    """
    maps = features
    if features.ndim == 3 and features.shape[1] % frames == 0:
        maps = features.transpose(1, 2).reshape(len(features), features.shape[2], frames, 1, -1)
    if maps.ndim != 5:
        raise UsageError(f"{tap} gives {tuple(features.shape)}, not tokens of {frames} latent frames or maps of them; leave it out")
    if maps.shape[3] == 1:
        tokens = maps.shape[4]
        rows = round(math.sqrt(tokens * height / width))
        if rows < 1 or tokens % rows:
            raise UsageError(f"{tap} gives {tokens} tokens a frame, which make no picture of {height} x {width}; leave it out")
        maps = maps.reshape(*maps.shape[:3], rows, tokens // rows)
    return maps


def split(maps: Tensor) -> dict[str, Tensor]:
    """Maps `(…, frames, h, w)` as the `PARTS` they have."""
    parts = {PARTS[0]: maps[..., :1, :, :], PARTS[1]: maps[..., 1:, :, :]}
    return {name: part for name, part in parts.items() if part.shape[-3]}


def coarse(maps: Tensor, height: int, width: int) -> Tensor:
    """Maps `(B, C, frames, H, W)` averaged to `(B, C, frames, height, width)`; themselves if they have that size.

    A U-Net's layers differ in resolution, and neighbours on a finer grid are more alike whatever they mean: layers can be
    compared on one grid only.
    """
    if maps.shape[-2:] == (height, width):
        return maps
    return F.interpolate(maps.flatten(1, 2), (height, width), mode="area").reshape(*maps.shape[:3], height, width)


def cover(mask: Tensor, maps: Tensor) -> Tensor:
    """The share of every place that a photo's mask covers, the same in every latent frame.

    The clip that a draw puts its noise on shows the photo standing still, so this is where the person is in every frame.

    Args:
        mask: `(B, 1, H, W)` in [0, 1].
        maps: `(B, C, frames, h, w)`, or a part of it.

    Returns:
        `(B, 1, frames, h, w)` in [0, 1].
    """
    share = F.interpolate(mask.to(maps), maps.shape[-2:], mode="area")
    return share.unsqueeze(2).expand(-1, -1, maps.shape[2], -1, -1)


def projection(channels: int, dims: int, seed: int) -> Tensor | None:
    """A fixed Gaussian projection that keeps distances in the mean (Johnson and Lindenstrauss 1984), `(channels, dims)`.

    None where there are no more channels than dimensions.
    """
    if channels <= dims:
        return None
    return torch.randn(channels, dims, generator=torch.Generator().manual_seed(seed)) / math.sqrt(dims)


def project(maps: Tensor, matrix: Tensor | None) -> Tensor:
    """Maps `(B, channels, …)` → `(B, dims, …)`."""
    return maps if matrix is None else torch.einsum("bc...,cd->bd...", maps, matrix.to(maps))
