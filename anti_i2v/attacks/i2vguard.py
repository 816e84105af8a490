"""In the manner of I2VGuard (CVPR 2025): the encoder and the attention over time."""

from __future__ import annotations

from anti_i2v.attacks.base import Method, published_settings
from anti_i2v.attacks.taps import temporal_attention
from anti_i2v.objectives import AnchorObjective, LatentObjective, WeightedObjective
from anti_i2v.surrogates import Surrogate
from anti_i2v.surrogates.draw import LATENT


def i2vguard(surrogate: Surrogate, taps: tuple[str, ...] = ()) -> Method:
    """The latent leaves the photo's own, and so does what attention over time gives; both in units of the photo's variance.

    Published: an attack on the encoder and one on temporal attention, against SVD and CogVideoX; losses and settings are not
    available, and the public benchmark that names it at 8/255 and 50 steps runs no video model at all. So this is a method in its manner.
    Transformers have no attention over time alone: there the self-attention of every block is used, which is over space and time.

    Args:
        surrogate: What is attacked.
        taps: Layers instead of those of attention over time.
    """
    layers = list(taps) or temporal_attention(surrogate)[0]
    temporal = AnchorObjective(away=True, weights=dict.fromkeys(layers, 1.0), balance=False)
    objective = WeightedObjective({"encoder": LatentObjective(away=True), "temporal": temporal})
    return Method(objective.to(surrogate.device), (LATENT, *layers), 50, published_settings(1 / 8))
