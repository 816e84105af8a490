"""How far features lie apart in units of their own spread, and the weighted mean of that over taps."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.objectives.frames import by_frame


def relative(away: Tensor, reference: Tensor, frames: int | None = None) -> Tensor:
    """Mean square of a difference over the variance of what it is measured by, each photo on its own.

    Args:
        away: Difference of features, `(B, …)`.
        reference: Features of one of the two, `(B, …)` or `(1, …)`; no gradient goes there.
        frames: None takes all values of a photo together; a number parts tokens into so many latent frames, see `by_frame`.

    Returns:
        `(B, 1)`, or `(B, frames)`, float32: 1 means as far apart as the reference's values are from their mean.
    """
    parted = [x.float().flatten(1).unsqueeze(1) if frames is None else by_frame(x.float(), frames) for x in (away, reference.detach())]
    variance = parted[1].var(2, unbiased=False).clamp_min(1e-12)  # constant features: a large number instead of NaN
    return parted[0].square().mean(2) / variance


def departure(away: Tensor, reference: Tensor, frames: int | None = None) -> Tensor:
    """How far features have gone from the reference, a scalar to raise; arguments as in `relative`.

    Of parted frames it is the mean of ln(1 + distance). A plain mean could be raised without end in the one frame that gives way
    most easily, the photo's own; with the logarithm a frame that has moved is worth less than one that has not.
    """
    distances = relative(away, reference, frames)
    return distances.mean() if frames is None else distances.log1p().mean()


def check_weights(weights: Mapping[str, float]) -> None:
    """Refuse weights of taps that no mean can be made with.

    Raises:
        UsageError: A weight is negative or not finite, or none is positive.
    """
    bad = {tap: weight for tap, weight in weights.items() if not 0 <= weight < float("inf")}
    if bad or sum(weights.values()) <= 0:
        raise UsageError(f"weights must be finite, not negative, and one of them positive; got {bad or dict(weights)}")


def weighted_mean(values: Mapping[str, Tensor], weights: Mapping[str, float] | None) -> Tensor:
    """The mean over taps of scalars, all alike without weights.

    Raises:
        UsageError: There are no taps to take the mean of.
    """
    if not values:
        raise UsageError("no taps are left to compare; name layers of the denoiser, such as blocks.11")
    shares = dict.fromkeys(values, 1.0) if weights is None else weights
    return torch.stack([shares[tap] * value for tap, value in values.items()]).sum() / sum(shares[tap] for tap in values)
