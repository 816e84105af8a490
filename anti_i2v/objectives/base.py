"""The objective contract: features of photos and of their protected versions → a scalar to minimise."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection

from torch import Tensor, nn

from anti_i2v.errors import UsageError
from anti_i2v.surrogates.draw import Draw


class Objective(nn.Module, ABC):
    """A training objective. It knows tap names and tensors, and not the family that they come from."""

    target_image: Tensor | None
    """The unrelated picture `(3, H, W)` in [0, 1] whose features are the target; None where there is none."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("target_image", None, persistent=False)  # it follows `to()`, and no checkpoint holds it

    @property
    def needs(self) -> tuple[str, ...]:
        """The taps that the objective names, and that a surrogate must therefore have."""
        return ()

    @property
    def clean_taps(self) -> tuple[str, ...] | None:
        """The taps that are read of the clean photos; None for all of the surrogate's. What is not computed saves time."""
        return None

    @property
    def embedder_names(self) -> tuple[str, ...]:
        """The identity embedders that the objective optimises against, none of which may ever judge the result."""
        return ()

    def check_taps(self, taps: Collection[str]) -> None:
        """Refuse taps without those that the objective names.

        Raises:
            UsageError: Some are missing; the message names them.
        """
        if missing := [tap for tap in self.needs if tap not in taps]:
            raise UsageError(f"{type(self).__name__} needs the taps {', '.join(self.needs)}; add {', '.join(missing)} to the taps")

    @abstractmethod
    def forward(
        self, clean: dict[str, Tensor], protected: dict[str, Tensor], draw: Draw, target: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compare the features of photos and of their protected versions under one draw.

        Args:
            clean: Tap → features `(B, …)` of the photos, in the order of computation; no gradient is needed in them.
            protected: The same taps of the protected photos.
            draw: The noise level and noise of both.
            target: The same taps of `target_image` at the same draw; needed where there is one.

        Returns:
            The scalar to minimise, float32, and its named parts (detached scalars, for logging).

        Raises:
            UsageError: Taps that the objective needs are missing, or have unusable shapes.
        """
