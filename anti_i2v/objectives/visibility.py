"""A penalty on visibility: colour differences above what eyes notice, and colour in flat regions, where they notice it most."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.imaging.metrics import delta_e2000, srgb_to_lab
from anti_i2v.objectives.base import Objective
from anti_i2v.surrogates.draw import PHOTO, Draw

WINDOW = 7
"""Side of the window that decides whether a region is flat, in pixels."""

TEXTURE_DEVIATION = 10.0
"""Standard deviation of L* in the window from which a region hides all colour."""


class VisibilityObjective(Objective):
    """Mean of max(0, ΔE2000 - threshold) over the pixels, plus `flat_weight` times the mean change of a*, b* weighted by flatness.

    ΔE2000 by Sharma, Wu and Dalal 2005, eqs. 2–22, as the penalty on a perturbation after PerC (arXiv 1911.02466); a difference of 1 is
    about just noticeable side by side. Flatness is 1 - s / `TEXTURE_DEVIATION`, at least 0, where s is the standard deviation of the
    photo's L* in a window: texture masks, and the same deviation weighs pixels in Luo et al. (AAAI 2018). It needs the tap `photo`.

    Args:
        threshold: ΔE2000 up to which a difference is free.
        flat_weight: Weight of the change of colour in flat regions, which has no threshold.
        reduce: Side in pixels of the squares that are judged as one, ≥ 1; a slow residual hardly differs within a few, and 2 is four times
            as fast.

    Raises:
        UsageError: One of them is negative or not finite.
    """

    def __init__(self, threshold: float = 1.0, flat_weight: float = 1.0, reduce: int = 1) -> None:
        super().__init__()
        for name, value in (("threshold", threshold), ("flat_weight", flat_weight)):
            if not 0 <= value < math.inf:
                raise UsageError(f"{name} is {value}; give a finite number from 0 on")
        if reduce < 1:
            raise UsageError(f"reduce is {reduce}; give 1 for every pixel, or 2")
        self.threshold, self.flat_weight, self.reduce = threshold, flat_weight, reduce

    @property
    def clean_taps(self) -> tuple[str, ...] | None:
        """See `Objective.clean_taps`."""
        return (PHOTO,)

    @property
    def needs(self) -> tuple[str, ...]:
        """See `Objective.needs`."""
        return (PHOTO,)

    def forward(
        self, clean: dict[str, Tensor], protected: dict[str, Tensor], draw: Draw, target: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Objective.forward`; the parts are the mean `excess` over the threshold and the weighted colour change `flat`, in ΔE."""
        self.check_taps(protected)
        pictures = clean[PHOTO].detach(), protected[PHOTO]
        before, after = (srgb_to_lab(F.avg_pool2d(picture, self.reduce)) for picture in pictures)
        excess = (delta_e2000(before, after) - self.threshold).relu().mean()
        colour = ((after - before)[:, 1:].square().sum(1) + 1e-6).sqrt() - 1e-3  # at no change the bare root has no derivative
        flat = (flatness(before[:, :1])[:, 0] * colour).mean()
        return (excess + self.flat_weight * flat).float(), {"excess": excess.detach().float(), "flat": flat.detach().float()}


def flatness(lightness: Tensor) -> Tensor:
    """How flat the surroundings of each pixel are: L* `(B, 1, H, W)` → the same shape in [0, 1], 1 where L* is constant.

    Raises:
        UsageError: The picture is smaller than the window reaches.
    """
    reach = WINDOW // 2
    if min(lightness.shape[-2:]) <= reach:
        raise UsageError(f"photos of {lightness.shape[-2]} x {lightness.shape[-1]} are too small for a window of {WINDOW}; use larger ones")
    around = F.pad(lightness, (reach,) * 4, mode="reflect").unfold(2, WINDOW, 1).unfold(3, WINDOW, 1)
    return (1 - around.flatten(-2).std(-1, unbiased=False) / TEXTURE_DEVIATION).clamp_min(0)
