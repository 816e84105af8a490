"""The objective contract: features of photos and of their protected versions → a scalar to minimise."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from anti_i2v.surrogates.draw import Draw


class Objective(nn.Module, ABC):
    """A training objective. It knows tap names and tensors, and nothing of the family they come from."""

    @abstractmethod
    def forward(self, clean: dict[str, Tensor], protected: dict[str, Tensor], draw: Draw) -> tuple[Tensor, dict[str, Tensor]]:
        """Compare the features of photos and of their protected versions under one draw.

        Args:
            clean: Tap → features `(B, …)` of the photos; no gradient is needed in them.
            protected: The same taps of the protected photos.
            draw: The noise level and noise both were seen at.

        Returns:
            The scalar to minimise, float32, and its named parts (detached scalars, for logging).
        """
