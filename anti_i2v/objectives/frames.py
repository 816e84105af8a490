"""Features split into the latent frames that they belong to."""

from __future__ import annotations

from einops import rearrange
from torch import Tensor

from anti_i2v.errors import UsageError


def by_frame(features: Tensor, frames: int) -> Tensor:
    """The values of each latent frame.

    Args:
        features: `(B, tokens, channels)` of a transformer, the tokens frame after frame; maps `(B, channels, frames, h, w)`, or
            `(B, channels, h, w)`, which are one frame.
        frames: Latent frames that the tokens cover; of maps the shape says it.

    Returns:
        `(B, frames, values of a frame)`.

    Raises:
        UsageError: The tokens do not divide into the frames, or the features are neither tokens nor maps.
    """
    if features.ndim == 5:
        return rearrange(features, "b c frames h w -> b frames (c h w)")
    if features.ndim == 4:
        return rearrange(features, "b c h w -> b 1 (c h w)")
    if features.ndim != 3 or features.shape[1] % frames:
        shape = tuple(features.shape)
        raise UsageError(f"features {shape} are no tokens (B, tokens, channels) of {frames} latent frames; use balance=False")
    return rearrange(features, "b (frames tokens) c -> b frames (tokens c)", frames=frames)
