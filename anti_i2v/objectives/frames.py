"""Features parted into the latent frames that they show."""

from __future__ import annotations

from torch import Tensor

from anti_i2v.errors import UsageError


def by_frame(features: Tensor, frames: int) -> Tensor:
    """The values of every latent frame by themselves.

    Args:
        features: `(B, tokens, channels)` of a transformer, the tokens frame after frame; maps `(B, channels, frames, h, w)`, or
            `(B, channels, h, w)`, which are one frame.
        frames: Latent frames that the tokens cover; maps say themselves how many they have.

    Returns:
        `(B, frames, values of a frame)`.

    Raises:
        UsageError: The tokens do not divide into the frames, or the features are neither tokens nor maps.
    """
    if features.ndim == 5:
        return features.transpose(1, 2).flatten(2)
    if features.ndim == 4:
        return features.flatten(1).unsqueeze(1)
    if features.ndim != 3 or features.shape[1] % frames:
        shape = tuple(features.shape)
        raise UsageError(f"features {shape} are no tokens (B, tokens, channels) of {frames} latent frames; use balance=False")
    return features.reshape(len(features), frames, -1)
