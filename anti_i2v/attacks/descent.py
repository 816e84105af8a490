"""The spaces in which per-photo methods make their steps, and the projection onto each.

The state is always the residual in RGB at the photo's own size. A step takes the gradient from RGB to the parameters of a space around
the picture as it is now, moves each parameter by the sign of it, and expresses that in RGB again. Then the budget cuts, in RGB. A cut
leaves the space: it changes lightness in `lab` and makes edges in `frequency`. So what the space can express is read off the cut
residual anew after every step (`project`), and there are no parameters beside it that could drift away from what the file shows.
Both are projections, on the budget and on the space, in turn (von Neumann 1950).

Steps mean the same everywhere: ±1 in all parameters is a residual of RMS one epsilon: in RGB by definition, in `frequency` by Parseval,
in `lab` measured (0.84–1.07 on the photographs behind `spaces.lab.GAIN`, full-size fields of random signs).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, get_args

import torch
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.spaces import FrequencySpace, LabSpace, Space
from anti_i2v.spaces.frequency import low_pass
from anti_i2v.spaces.lab import recolour

SpaceName = Literal["rgb", "lab", "frequency", "dual"]
"""`rgb`: every value; `lab`: a* and b* of every pixel; `frequency`: low DCT coefficients; `dual`: the last two in turn."""

SPACES: tuple[SpaceName, ...] = get_args(SpaceName)


class Descent(ABC):
    """How a residual moves. Pictures and residuals are (B, 3, H, W) in [0, 1] units, lengths and epsilon in 1/255."""

    @abstractmethod
    def start(self, image: Tensor, epsilon: float, generator: torch.Generator) -> Tensor:
        """A random residual, of RMS about ε/√3, from uniform parameters."""

    @abstractmethod
    def step(self, picture: Tensor, gradient: Tensor, length: float, number: int) -> Tensor:
        """What to add to a picture against a gradient in step `number`, from 0."""

    @abstractmethod
    def project(self, image: Tensor, residual: Tensor) -> Tensor:
        """What of a residual of `image` the space can express."""


class RgbDescent(Descent):
    """Every value of RGB by itself: Madry et al. 2018 (arXiv 1706.06083), L∞."""

    def start(self, image: Tensor, epsilon: float, generator: torch.Generator) -> Tensor:
        return epsilon / 255 * _uniform(image.shape, generator, image.device)

    def step(self, picture: Tensor, gradient: Tensor, length: float, number: int) -> Tensor:
        return -length / 255 * gradient.sign()

    def project(self, image: Tensor, residual: Tensor) -> Tensor:
        return residual


class LabDescent(Descent):
    """a* and b* of every pixel; L* stays (Anti-I2V, arXiv 2603.24570; before it Anti-Forgery, arXiv 2206.00477)."""

    def start(self, image: Tensor, epsilon: float, generator: torch.Generator) -> Tensor:
        field = _uniform((len(image), 2, *image.shape[-2:]), generator, image.device)
        return LabSpace().residual(image, field, _each(image, epsilon))

    def step(self, picture: Tensor, gradient: Tensor, length: float, number: int) -> Tensor:
        return _signed_step(LabSpace(), picture, gradient, length, picture.shape[-2:])

    def project(self, image: Tensor, residual: Tensor) -> Tensor:
        return recolour(image, image + residual) - image


class FrequencyDescent(Descent):
    """The low coefficients of a DCT of the whole photo (Anti-I2V, arXiv 2603.24570).

    Args:
        rows: Row frequencies that move.
        columns: Column frequencies that move.
    """

    def __init__(self, rows: int, columns: int) -> None:
        self.rows, self.columns = rows, columns

    def start(self, image: Tensor, epsilon: float, generator: torch.Generator) -> Tensor:
        coefficients = _uniform((len(image), 3, self.rows, self.columns), generator, image.device)
        return FrequencySpace().residual(image, coefficients, _each(image, epsilon))

    def step(self, picture: Tensor, gradient: Tensor, length: float, number: int) -> Tensor:
        return _signed_step(FrequencySpace(), picture, gradient, length, (self.rows, self.columns))

    def project(self, image: Tensor, residual: Tensor) -> Tensor:
        return low_pass(residual, self.rows, self.columns)


class DualDescent(Descent):
    """Steps in Lab and in frequency in turn (Anti-I2V, arXiv 2603.24570); what is not of low frequency leaves L* alone.

    Args:
        rows: Row frequencies that move.
        columns: Column frequencies that move.
    """

    def __init__(self, rows: int, columns: int) -> None:
        self.parts = (LabDescent(), FrequencyDescent(rows, columns))

    def start(self, image: Tensor, epsilon: float, generator: torch.Generator) -> Tensor:
        return self.parts[0].start(image, epsilon, generator)

    def step(self, picture: Tensor, gradient: Tensor, length: float, number: int) -> Tensor:
        return self.parts[number % 2].step(picture, gradient, length, number)

    def project(self, image: Tensor, residual: Tensor) -> Tensor:
        return recolour(image + self.parts[1].project(image, residual), image + residual) - image


def descent_in(space: SpaceName, height: int, width: int, cutoff: float) -> Descent:
    """How to move in a space.

    Args:
        space: Its name.
        height: Rows at which the photo is looked at; they say what a high frequency is.
        width: Columns likewise.
        cutoff: Share of the frequencies along each axis that count as low, in (0, 1].

    Raises:
        UsageError: No such space, or no such share.
    """
    if space not in SPACES:
        raise UsageError(f"space is {space!r}; choose one of {', '.join(SPACES)}")
    if not 0 < cutoff <= 1:
        raise UsageError(f"cutoff is {cutoff}; give the share of the frequencies that move, above 0 and up to 1")
    rows, columns = (max(1, round(cutoff * size)) for size in (height, width))
    descents: dict[SpaceName, Descent] = {
        "rgb": RgbDescent(),
        "lab": LabDescent(),
        "frequency": FrequencyDescent(rows, columns),
        "dual": DualDescent(rows, columns),
    }
    return descents[space]


def _signed_step(space: Space, picture: Tensor, gradient: Tensor, length: float, size: tuple[int, ...]) -> Tensor:
    """A step of `length` against the sign of the gradient in the parameters of a space, (B, channels, *size), around a picture."""
    lengths = _each(picture, length)
    with torch.enable_grad():
        still = torch.zeros(len(picture), space.channels, *size, device=picture.device, requires_grad=True)
        (slope,) = torch.autograd.grad(space.residual(picture, still, lengths), still, gradient)
    return space.residual(picture, -slope.sign(), lengths)


def _each(image: Tensor, value: float) -> Tensor:
    return torch.full((len(image),), value, device=image.device)


def _uniform(shape: tuple[int, ...], generator: torch.Generator, device: torch.device) -> Tensor:
    """Uniform in [-1, 1]."""
    return 2 * torch.rand(shape, generator=generator, device=generator.device).to(device) - 1
