"""Internal representation collapse: deep layers carry no more than a shallow one."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.objectives.base import Objective
from anti_i2v.objectives.distance import relative
from anti_i2v.surrogates.draw import Draw


class CollapseObjective(Objective):
    """L_IRC of Anti-I2V (arXiv 2603.24570): E ‖f_deep(protected) - f_shallow(protected)‖², the mean over the deep taps.

    The paper takes the last three blocks and block 3 of every backbone. Both sides are of the protected photo and both have a gradient.

    Args:
        deep: Taps that carry meaning.
        shallow: A tap before all of them that carries little.
        normalise: Over Var(f_shallow(photo)), each photo on its own, so that 1 means as much as that layer varies within the photo
            whatever the model's scale; without, the mean square itself, which is the paper's norm over the number of values.

    Raises:
        UsageError: No deep tap, or the shallow one among them.
    """

    def __init__(self, deep: list[str], shallow: str, normalise: bool = True) -> None:
        super().__init__()
        if not deep or shallow in deep:
            raise UsageError(f"deep is {', '.join(deep) or 'empty'}, shallow is {shallow}; name deep taps that come after the shallow one")
        self.deep, self.shallow, self.normalise = list(dict.fromkeys(deep)), shallow, normalise

    @property
    def needs(self) -> tuple[str, ...]:
        """See `Objective.needs`."""
        return (self.shallow, *self.deep)

    @property
    def clean_taps(self) -> tuple[str, ...] | None:
        """See `Objective.clean_taps`."""
        return None if self.normalise else ()

    def forward(
        self, clean: dict[str, Tensor], protected: dict[str, Tensor], draw: Draw, target: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Objective.forward`; the parts are the distances of the deep taps from the shallow one, by tap name."""
        self.check_taps(protected)
        shallow, order = protected[self.shallow].float(), list(protected)
        distances = {}
        for tap in self.deep:
            if order.index(tap) <= order.index(self.shallow):
                raise UsageError(f"the deep tap {tap} is computed before the shallow {self.shallow}; name a deeper one, or swap them")
            if protected[tap].shape != shallow.shape:
                raise UsageError(_shapes(tap, self.shallow, protected))
            difference = protected[tap].float() - shallow
            distances[tap] = relative(difference, clean[self.shallow]).mean() if self.normalise else difference.square().mean()
        return torch.stack(list(distances.values())).mean(), {tap: distance.detach() for tap, distance in distances.items()}


def _shapes(deep: str, shallow: str, features: Mapping[str, Tensor]) -> str:
    """Why two layers cannot be compared, and which of the taps could be: those of the one's shape or the other's."""
    same = {tap: [n for n, value in features.items() if value.shape == features[tap].shape] for tap in (deep, shallow)}
    sizes = {tap: " x ".join(str(n) for n in features[tap].shape[1:]) for tap in (deep, shallow)}
    choices = "; ".join(f"{sizes[tap]}: {', '.join(same[tap])}" for tap in (deep, shallow))
    return f"the deep tap {deep} and the shallow {shallow} have different shapes; name taps of one shape ({choices})"
