"""The distance of features in units of their own variance, and its weighted mean over taps."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from einops import rearrange
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.objectives.frames import by_frame


def relative(difference: Tensor, reference: Tensor, frames: int | None = None) -> Tensor:
    """Mean square of a difference over the variance of the reference, each photo on its own.

    Args:
        difference: Of features, `(B, …)`.
        reference: Features of one of the two, `(B, …)` or `(1, …)`; no gradient goes there.
        frames: None takes all values of a photo together; a number splits tokens into so many latent frames, see `by_frame`.

    Returns:
        `(B, 1)`, or `(B, frames)`, float32: 1 means a distance as large as the reference's values have to their mean.
    """
    parts = [rearrange(x, "b ... -> b 1 (...)") if frames is None else by_frame(x, frames) for x in (difference, reference.detach())]
    variance = parts[1].float().var(2, unbiased=False).clamp_min(1e-12)  # constant features: a large number instead of NaN
    return parts[0].float().square().mean(2) / variance


def departure(difference: Tensor, reference: Tensor, frames: int | None = None) -> Tensor:
    """The distance of features to the reference, a scalar to raise; arguments as in `relative`.

    With frames it is the mean of ln(1 + distance). A plain mean could be raised without end in the one frame that changes most
    easily, the photo's own; with the logarithm a frame that has changed is worth less than one that has not.
    """
    distances = relative(difference, reference, frames)
    return distances.mean() if frames is None else distances.log1p().mean()


def check_weights(weights: Mapping[str, float]) -> None:
    """Refuse weights of taps that allow no mean.

    Raises:
        UsageError: A weight is negative or not finite, or none is positive.
    """
    bad = {tap: weight for tap, weight in weights.items() if not 0 <= weight < float("inf")}
    if bad or sum(weights.values()) <= 0:
        raise UsageError(f"weights must be finite, not negative, and one of them positive; got {bad or dict(weights)}")


def weighted_mean(values: Mapping[str, Tensor], weights: Mapping[str, float] | None) -> Tensor:
    """The mean over taps of scalars, with equal weights by default.

    Raises:
        UsageError: There are no taps.
    """
    if not values:
        raise UsageError("no taps are left to compare; name layers of the denoiser, such as blocks.11")
    shares = dict.fromkeys(values, 1.0) if weights is None else weights
    return torch.stack([shares[tap] * value for tap, value in values.items()]).sum() / sum(shares[tap] for tap in values)
