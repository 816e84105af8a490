"""The parts of a surrogate that an attack can be against, by name: the taps that it reads and its objective."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from anti_i2v.embedders import OBJECTIVE_EMBEDDERS
from anti_i2v.objectives import FeatureObjective, IdentityObjective, Objective
from anti_i2v.surrogates import Surrogate
from anti_i2v.surrogates.draw import DECODED, LATENT, PHOTO

PartName = Literal["encoder", "taps", "both", "decoded", "identity"]
"""`encoder`: the latents; `taps`: layers of the denoiser; `both`; `decoded`: the decoded photo's pixels; `identity`: who is seen in it."""

PARTS: tuple[PartName, ...] = get_args(PartName)


@dataclass(frozen=True)
class Attack:
    """What `optimise` is given: the surrogate with the taps it needs, and the objective."""

    surrogate: Surrogate
    objective: Objective


def attack_on(
    name: PartName,
    surrogate: Surrogate,
    taps: Sequence[str],
    faces: Sequence[str] = OBJECTIVE_EMBEDDERS,
    centred: bool = True,
    keep: float = 1.0,
    jitter: float = 0.1,
) -> Attack:
    """An attack on one part of a surrogate.

    Args:
        name: Which.
        surrogate: Frozen; its own taps are left as they are.
        taps: Layers of the denoiser for `taps` and `both`.
        faces: Identity embedders for `identity`, each made for objectives; several weigh the same.
        centred: Leave a tint out of distances of features; see `FeatureObjective`.
        keep: Weight of the identity similarity of the photo itself; see `IdentityObjective`.
        jitter: How much `identity` moves each look at a picture.

    Raises:
        UsageError: A tap is unknown, or an identity embedder is missing or a judge.
    """
    if name == "identity":
        objective = IdentityObjective(list(faces), keep, jitter)
        return Attack(surrogate.with_taps([DECODED, PHOTO]), objective.to(surrogate.device))
    if name == "decoded":
        return Attack(surrogate.with_taps([DECODED]), FeatureObjective(centred=centred))
    # In `both`, encoder and taps weigh the same however many layers there are.
    names = () if name == "encoder" else surrogate.with_taps(taps).taps
    layers = {tap: 1 / len(names) for tap in names}
    weights = {"encoder": {LATENT: 1.0}, "taps": layers, "both": {LATENT: 1.0, **layers}}[name]
    return Attack(surrogate.with_taps(list(weights)), FeatureObjective(weights, centred=centred))
