"""Push the features of the protected photo away from those of the photo, with equal weight at every tap."""

from __future__ import annotations

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.objectives.base import Objective
from anti_i2v.objectives.distance import check_weights, departure, weighted_mean
from anti_i2v.surrogates.draw import ERROR, PHOTO, Draw


class FeatureObjective(Objective):
    """Minus the mean over taps of MSE(protected, clean) / Var(clean), each photo on its own.

    The variance makes taps comparable: the residual stream of a transformer grows by orders of magnitude with depth.
    1 means that the features changed by as much as they vary within one photo.

    Args:
        weights: Tap → weight of its distance in the mean, other taps left out; by default all taps with equal weight, but for `photo`,
            because a changed photo is no damage, and `error`, which has an objective of its own.
        centred: Leave out of the difference its mean over each latent frame. A uniform tint changes every token by the
            same, so without this it is the cheapest way to change features, and the person stays recognisable.
        window: Leave out of the difference of maps, such as `decoded`, its mean over this many cells around each, an odd number; 0
            switches this off. What then counts is shape: `centred` alone still pays for a red face before a green wall.
        balance: Measure every latent frame by its own variance and give all equal weight, so that changing the photo's own frame is
            not enough; see `departure`.

    Raises:
        UsageError: A weight is negative or not finite, or none is positive; or the window is not odd.
    """

    def __init__(self, weights: dict[str, float] | None = None, centred: bool = False, window: int = 0, balance: bool = False) -> None:
        super().__init__()
        if weights is not None:
            check_weights(weights)
        self.weights = weights
        if window and (window < 3 or window % 2 == 0):
            raise UsageError(f"window is {window}; give an odd number from 3 on, or 0 for none")
        self.centred, self.window, self.balance = centred, window, balance

    @property
    def needs(self) -> tuple[str, ...]:
        """See `Objective.needs`."""
        return tuple(self.weights or ())

    def forward(
        self, clean: dict[str, Tensor], protected: dict[str, Tensor], draw: Draw, target: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Objective.forward`; the parts are the distances of the taps, by tap name."""
        self.check_taps(clean)
        distances = {}
        for tap in self.weights or [tap for tap in clean if tap not in (PHOTO, ERROR)]:
            away = protected[tap].float() - clean[tap].detach().float()  # float32 also under autocast
            away = centre(away, draw.frames) if self.centred else away
            away = sharpen(away, self.window) if self.window and away.ndim == 4 else away
            distances[tap] = departure(away, clean[tap], draw.frames if self.balance else None)
        return -weighted_mean(distances, self.weights), {tap: distance.detach() for tap, distance in distances.items()}


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
    by_frame = rearrange(features, "b (frames tokens) c -> b frames tokens c", frames=frames)
    return rearrange(by_frame - by_frame.mean(2, keepdim=True), "b frames tokens c -> b (frames tokens) c")


def sharpen(maps: Tensor, window: int) -> Tensor:
    """Subtract from each value the mean of the `window` x `window` cells around it: `(B, C, h, w)` → the same.

    Raises:
        UsageError: The maps are smaller than the window reaches.
    """
    reach = window // 2
    if min(maps.shape[-2:]) <= reach:
        raise UsageError(f"maps of {maps.shape[-2]} x {maps.shape[-1]} are too small for a window of {window}; make it smaller")
    return maps - F.avg_pool2d(F.pad(maps, (reach,) * 4, mode="reflect"), window, stride=1)
