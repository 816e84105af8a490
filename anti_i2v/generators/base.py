"""What a generator promises: windows of a photo in, parameters of the perturbation spaces out. It knows no diffusion model."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from anti_i2v.generators.salience import SHIPPED, SalienceNetwork, load_salience


class Generator(nn.Module, ABC):
    """A feed-forward network from the window around a person to perturbation parameters, and the network that finds people.

    Args:
        salience: Folder, or name of a shipped one, that the salience network's weights come from; it is not trained with the rest. None
            leaves them random, for weights that are loaded afterwards. Not part of the configuration.

    Attributes:
        working_size: Height and width S of the copy of a window that it looks at, in pixels.
        salience: Finds people; see `SalienceNetwork`.
    """

    working_size: int

    def __init__(self, salience: str | None = SHIPPED) -> None:
        super().__init__()
        self.salience = (SalienceNetwork() if salience is None else load_salience(salience)).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Generator:
        """The salience network stays in evaluation mode."""
        super().train(mode)
        self.salience.eval()
        return self

    @abstractmethod
    def config(self) -> dict[str, str | int | float]:
        """The constructor's arguments, so that `type(self)(**self.config())` is the same architecture."""

    @abstractmethod
    def forward(self, window: Tensor, epsilon: Tensor, key: Tensor) -> dict[str, Tensor]:
        """Propose a perturbation.

        Args:
            window: (N, 3, S, S) in [0, 1], sRGB, the squares around N faces scaled to the working size.
            epsilon: (N,) in 1/255 steps.
            key: (N, 32) about standard normal, of the photos that the windows are from.

        Returns:
            (N, channels, h, w) for some of `spaces.SPACES`: "rgb", a field of colours; "lab", one of a* and b*; "frequency", DCT
            coefficients, row frequency first. What is missing is not used. They are local to the window.
            Units as the spaces define them: about ±1 for one epsilon of pixel change.
        """
