"""Push the features of the protected photo away from those of the photo, at every tap alike."""

from __future__ import annotations

import torch
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.objectives.base import Objective
from anti_i2v.surrogates.base import Draw


class FeatureObjective(Objective):
    """Minus the mean over taps of MSE(protected, clean) / Var(clean), each photo on its own.

    The variance makes taps comparable: the residual stream of a transformer grows by orders of magnitude with depth.
    1 means that the features moved by as much as they vary within one photo.

    Args:
        weights: Tap → weight of its distance in the mean; all taps alike if not given.

    Raises:
        UsageError: A weight is negative or not finite, or none is positive.
    """

    def __init__(self, weights: dict[str, float] | None = None) -> None:
        super().__init__()
        if weights is not None:
            bad = {tap: weight for tap, weight in weights.items() if not 0 <= weight < float("inf")}
            if bad or sum(weights.values()) <= 0:
                given = bad or weights
                raise UsageError(f"weights must be finite, not negative, and one of them positive; got {given}")
        self.weights = weights

    def forward(self, clean: dict[str, Tensor], protected: dict[str, Tensor], draw: Draw) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Objective.forward`; the parts are the distances of the taps, by tap name."""
        weights = dict.fromkeys(clean, 1.0) if self.weights is None else self.weights
        if weights.keys() != clean.keys():
            named, taps = ", ".join(sorted(weights)), ", ".join(sorted(clean))
            raise UsageError(f"the weights name {named}, the taps are {taps}; give each tap a weight")
        distances = {tap: _distance(protected[tap], value.detach()) for tap, value in clean.items()}
        weighted = torch.stack([weights[tap] * distance for tap, distance in distances.items()])
        return -weighted.sum() / sum(weights.values()), {tap: distance.detach() for tap, distance in distances.items()}


def _distance(protected: Tensor, clean: Tensor) -> Tensor:
    """Mean over the batch of MSE / Var, `(B, …)` → scalar in float32, also under autocast."""
    clean, protected = clean.float().flatten(1), protected.float().flatten(1)
    variance = clean.var(1, unbiased=False).clamp_min(1e-12)  # constant features: a large number instead of NaN
    return ((protected - clean).square().mean(1) / variance).mean()
