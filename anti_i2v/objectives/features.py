"""Push the features of the protected photo away from those of the photo, at every tap alike."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.objectives.base import Objective
from anti_i2v.surrogates.draw import PHOTO, Draw


class FeatureObjective(Objective):
    """Minus the mean over taps of MSE(protected, clean) / Var(clean), each photo on its own.

    The variance makes taps comparable: the residual stream of a transformer grows by orders of magnitude with depth.
    1 means that the features moved by as much as they vary within one photo.

    Args:
        weights: Tap → weight of its distance in the mean; all taps alike if not given. The tap `photo` is left out unless it is named: a
            changed photo is no damage.
        centred: Leave out of the difference its mean over each latent frame. A uniform tint moves every token alike, so
            without this it is the cheapest way to move features, and it leaves the person who they are.
        window: Leave out of the difference of maps, such as `decoded`, its mean over this many cells around each, an odd number; 0 for
            not. What then counts is shape: `centred` alone still pays for a red face before a green wall.

    Raises:
        UsageError: A weight is negative or not finite, or none is positive; or the window is not odd.
    """

    def __init__(self, weights: dict[str, float] | None = None, centred: bool = False, window: int = 0) -> None:
        super().__init__()
        if weights is not None:
            bad = {tap: weight for tap, weight in weights.items() if not 0 <= weight < float("inf")}
            if bad or sum(weights.values()) <= 0:
                given = bad or weights
                raise UsageError(f"weights must be finite, not negative, and one of them positive; got {given}")
        self.weights = weights
        if window and (window < 3 or window % 2 == 0):
            raise UsageError(f"window is {window}; give an odd number from 3 on, or 0 for none")
        self.centred, self.window = centred, window

    def forward(self, clean: dict[str, Tensor], protected: dict[str, Tensor], draw: Draw) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Objective.forward`; the parts are the distances of the taps, by tap name."""
        clean = {tap: value for tap, value in clean.items() if tap != PHOTO or tap in (self.weights or {})}
        weights = dict.fromkeys(clean, 1.0) if self.weights is None else self.weights
        if weights.keys() != clean.keys():
            named, taps = ", ".join(sorted(weights)), ", ".join(sorted(clean))
            raise UsageError(f"the weights name {named}, the taps are {taps}; give each tap a weight")
        distances = {}
        for tap, value in clean.items():
            away = protected[tap].float() - value.detach().float()  # float32 also under autocast
            away = centre(away, draw.frames) if self.centred else away
            away = sharpen(away, self.window) if self.window and away.ndim == 4 else away
            distances[tap] = _distance(away, value.detach())
        weighted = torch.stack([weights[tap] * distance for tap, distance in distances.items()])
        return -weighted.sum() / sum(weights.values()), {tap: distance.detach() for tap, distance in distances.items()}


def centre(features: Tensor, frames: int) -> Tensor:
    """Subtract from each channel its mean over every latent frame.

    Args:
        features: `(B, tokens, channels)` of a transformer, the tokens frame after frame, or a map `(B, channels, …, h, w)`.
        frames: Latent frames that the tokens cover; maps are centred frame by frame whatever it is.

    Returns:
        Same shape; the mean of each frame and channel is 0.

    Raises:
        UsageError: The tokens do not divide into the frames, or the features are neither tokens nor maps.
    """
    if features.ndim >= 4:
        return features - features.mean((-2, -1), keepdim=True)
    if features.ndim != 3 or features.shape[1] % frames:
        shape = tuple(features.shape)
        raise UsageError(f"features {shape} are no tokens (B, tokens, channels) of {frames} latent frames; use centred=False")
    split = features.reshape(len(features), frames, -1, features.shape[2])
    return (split - split.mean(2, keepdim=True)).flatten(1, 2)


def sharpen(maps: Tensor, window: int) -> Tensor:
    """Subtract from each value the mean of the `window` x `window` cells around it: `(B, C, h, w)` → the same.

    Raises:
        UsageError: The maps are smaller than the window reaches.
    """
    reach = window // 2
    if min(maps.shape[-2:]) <= reach:
        raise UsageError(f"maps of {maps.shape[-2]} x {maps.shape[-1]} are too small for a window of {window}; make it smaller")
    return maps - F.avg_pool2d(F.pad(maps, (reach,) * 4, mode="reflect"), window, stride=1)


def _distance(away: Tensor, clean: Tensor) -> Tensor:
    """Mean over the batch of mean square / Var(clean), `(B, …)` → scalar in float32."""
    variance = clean.float().flatten(1).var(1, unbiased=False).clamp_min(1e-12)  # constant features: a large number instead of NaN
    return (away.square().flatten(1).mean(1) / variance).mean()
