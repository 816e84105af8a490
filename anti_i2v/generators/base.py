"""What a generator promises: photo in, parameters of the perturbation spaces out. It knows no diffusion model."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Generator(nn.Module, ABC):
    """A feed-forward network from a small copy of the photo to perturbation parameters.

    Attributes:
        working_size: Height and width S of the copy that it looks at, in pixels.
    """

    working_size: int

    @abstractmethod
    def config(self) -> dict[str, str | int | float]:
        """The constructor's arguments, so that `type(self)(**self.config())` is the same architecture."""

    @abstractmethod
    def forward(self, image: Tensor, epsilon: Tensor) -> dict[str, Tensor]:
        """Propose a perturbation.

        Args:
            image: (B, 3, S, S) in [0, 1], sRGB, the whole photo scaled to the working size.
            epsilon: (B,) in 1/255 steps.

        Returns:
            (B, channels, h, w) for some of `spaces.SPACES`: "rgb", a field of colours; "lab", one of a* and b*; "frequency", DCT
            coefficients, row frequency first. What is missing is not used.
            Units as the spaces define them: about ±1 for one epsilon of pixel change.
        """
