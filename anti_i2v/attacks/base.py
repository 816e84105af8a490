"""What a per-photo method is: an objective, the taps that it reads, and the settings of its steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from anti_i2v.attacks.loop import Settings, optimise
from anti_i2v.objectives import Objective
from anti_i2v.surrogates import Surrogate

REFINE_STEP = 0.5
"""Longest first step of a refinement, as a share of epsilon: a step of all of it would leave little of the starting point.

Of 1/16, 1/8, 1/4, 1/2 and 1 this took `identity` furthest in 8 steps from `portrait-generator` (loss 0.46, 0.39, 0.32, 0.30, 0.40 from 0.57
in one pass; 4 test people, epsilon 8, portrait-dit).
"""


@dataclass(frozen=True)
class Method:
    """A per-photo method against one surrogate.

    Attributes:
        objective: What is minimised.
        taps: What the objective reads of the surrogate.
        steps: How many, if the caller does not say.
        settings: Space, length and noise levels of the steps.
    """

    objective: Objective
    taps: tuple[str, ...]
    steps: int
    settings: Settings

    def run(
        self,
        surrogate: Surrogate,
        image: Tensor,
        text: Mapping[str, Tensor],
        epsilon: float,
        generator: torch.Generator,
        steps: int | None = None,
        *,
        start: Tensor | None = None,
        keep: Sequence[int] = (),
        label: str | None = None,
    ) -> dict[int, Tensor]:
        """Protect photos; arguments and result as `optimise`, with the method's own number of steps if none is given."""
        settings = self.settings if start is None else replace(self.settings, step=min(self.settings.step, REFINE_STEP))
        number = self.steps if steps is None else steps
        model = surrogate.with_taps(self.taps)
        return optimise(model, image, text, self.objective, epsilon, number, generator, settings, start=start, keep=keep, label=label)


def published_settings(step: float) -> Settings:
    """What most published methods have in common: every value of RGB, steps of one length, draws of the whole schedule.

    Args:
        step: Length of a step as a share of epsilon.
    """
    return Settings(step=step, decay=False, min_sigma=0.0)
