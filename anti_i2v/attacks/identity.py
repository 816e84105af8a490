"""This project's own objective, photo by photo: what the generator is trained to do in one pass."""

from __future__ import annotations

from anti_i2v.attacks.base import Method
from anti_i2v.attacks.loop import Settings
from anti_i2v.embedders import OBJECTIVE_EMBEDDERS
from anti_i2v.objectives import IdentityObjective
from anti_i2v.surrogates import Surrogate
from anti_i2v.surrogates.draw import DECODED, PHOTO


def identity(surrogate: Surrogate) -> Method:
    """The reconstructed photo shows another person to identity embedders, and the photo itself still its own.

    Steps are as long as epsilon at first and shorten; see `loop.step_length` for why.
    """
    objective = IdentityObjective(list(OBJECTIVE_EMBEDDERS), keep=1.0, input_diversity=0.1)
    return Method(objective.to(surrogate.device), (DECODED, PHOTO), 200, Settings())
