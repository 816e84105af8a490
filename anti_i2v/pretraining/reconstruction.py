"""What an autoencoder is trained on: how far the rebuilt pictures are from the pictures."""

from __future__ import annotations

from torch import Tensor


def edges(video: Tensor) -> tuple[Tensor, Tensor]:
    """Differences of neighbouring pixels, across and down, of (…, H, W)."""
    return video.diff(dim=-1), video.diff(dim=-2)


def reconstruction_loss(rebuilt: Tensor, video: Tensor, weight: Tensor, chroma_weight: float = 0.0) -> Tensor:
    """L1 + MSE + L1 of the edges + L1 of colour differences, on [-1, 1] scale.

    The edges keep eyes and mouth from being averaged away, the differences R - G and B - G a faint tint of the light.

    Args:
        rebuilt: (B, T, 3, H, W) in [0, 1].
        video: The same shape and range.
        weight: (B, T, 1, H, W) how much each pixel counts.
        chroma_weight: How much the colour differences count.
    """
    error = 2.0 * (rebuilt - video)
    across, down = edges(weight * error)
    loss = (weight * error).abs().mean() + (weight * error.square()).mean() + across.abs().mean() + down.abs().mean()
    if chroma_weight:
        loss = loss + chroma_weight * (weight * (error[:, :, ::2] - error[:, :, 1:2])).abs().mean()
    return loss
