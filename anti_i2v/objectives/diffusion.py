"""The diffusion loss of the protected photo, raised or lowered."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.objectives.base import Objective
from anti_i2v.surrogates.draw import ERROR, Draw


class DiffusionObjective(Objective):
    """L_DM, the mean square of what the denoiser gets wrong about the protected photo.

    With +1 it is raised: AdvDM (arXiv 2302.04578), Mist's semantic loss (arXiv 2305.12683), and -L_DM in Anti-I2V's sum
    (arXiv 2603.24570). With -1 it is lowered, AdvDM(-) of arXiv 2311.12832: blurred and smoothed photos are easy to denoise. It needs
    the tap `error`.

    Args:
        sign: 1 to raise the loss, -1 to lower it.

    Raises:
        UsageError: The sign is neither.
    """

    def __init__(self, sign: Literal[1, -1] = 1) -> None:
        super().__init__()
        if sign not in (1, -1):
            raise UsageError(f"sign is {sign}; give 1 to raise the diffusion loss, or -1 to lower it")
        self.sign = sign

    @property
    def needs(self) -> tuple[str, ...]:
        """See `Objective.needs`."""
        return (ERROR,)

    @property
    def clean_taps(self) -> tuple[str, ...] | None:
        """See `Objective.clean_taps`."""
        return ()

    def forward(
        self, clean: dict[str, Tensor], protected: dict[str, Tensor], draw: Draw, target: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Objective.forward`; the part is the diffusion loss `diffusion`, whatever the sign."""
        self.check_taps(protected)
        value = protected[ERROR].float().square().mean()
        return -self.sign * value, {"diffusion": value.detach()}
