"""Several objectives at once, each with its weight."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anti_i2v.errors import UsageError
from anti_i2v.objectives.base import Objective
from anti_i2v.surrogates.draw import Draw


class WeightedObjective(Objective):
    """The weighted sum of named objectives.

    Args:
        objectives: Name → objective.
        weights: Name → weight of its loss, not negative; 1 for all by default.

    Raises:
        UsageError: There are no objectives, or one is named with a dot, or the weights name others, or one is negative or not finite,
            or two objectives have target images that differ.
    """

    def __init__(self, objectives: dict[str, Objective], weights: dict[str, float] | None = None) -> None:
        super().__init__()
        self.weights = dict.fromkeys(objectives, 1.0) if weights is None else weights
        if not objectives or self.weights.keys() != objectives.keys():
            weight_names, names = ", ".join(sorted(self.weights)), ", ".join(sorted(objectives))
            raise UsageError(f"the weights name {weight_names or 'nothing'}, the objectives are {names or 'none'}; give each one a weight")
        if with_dot := [name for name in objectives if "." in name]:
            raise UsageError(f"the objective {with_dot[0]!r} has a dot in its name; a dot parts levels of a config, choose another")
        if bad := {name: weight for name, weight in self.weights.items() if not 0 <= weight < float("inf")}:
            raise UsageError(f"weights must be finite and not negative; got {bad}")
        self.objectives = nn.ModuleDict(objectives)
        targets = {name: objective.target_image for name, objective in objectives.items() if objective.target_image is not None}
        for name, image in targets.items():  # features of one target image are computed, so there can be no second
            if self.target_image is None:
                self.target_image = image
            elif not torch.equal(image, self.target_image):
                raise UsageError(f"the objectives {next(iter(targets))} and {name} have different target images; give them the same")

    @property
    def needs(self) -> tuple[str, ...]:
        """See `Objective.needs`: those of all objectives."""
        return tuple(dict.fromkeys(tap for part in self.objectives.values() if isinstance(part, Objective) for tap in part.needs))

    @property
    def clean_taps(self) -> tuple[str, ...] | None:
        """See `Objective.clean_taps`: those of all objectives."""
        taps = [part.clean_taps for part in self.objectives.values() if isinstance(part, Objective)]
        return None if None in taps else tuple(dict.fromkeys(tap for part in taps for tap in part or ()))

    @property
    def embedder_names(self) -> tuple[str, ...]:
        """See `Objective.embedder_names`: those of all objectives."""
        parts = [part for part in self.objectives.values() if isinstance(part, Objective)]
        return tuple(dict.fromkeys(name for part in parts for name in part.embedder_names))

    def forward(
        self, clean: dict[str, Tensor], protected: dict[str, Tensor], draw: Draw, target: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Objective.forward`; a part is named `objective/part`, and each objective's own loss by its name."""
        losses: list[Tensor] = []
        parts: dict[str, Tensor] = {}
        for name, objective in self.objectives.items():
            loss, own_parts = objective(clean, protected, draw, None if objective.target_image is None else target)
            losses.append(self.weights[name] * loss)
            parts |= {name: loss.detach(), **{f"{name}/{part}": value for part, value in own_parts.items()}}
        return torch.stack(losses).sum(), parts
