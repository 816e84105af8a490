"""A network that removes protections: a residual U-Net from a protected photo to what was added to it; for `remover`."""

from __future__ import annotations

import itertools
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from anti_i2v import atomic
from anti_i2v.errors import UsageError

SCALE = 8 / 255
"""A residual of this size is 1 to the network: the usual epsilon."""

HALVINGS = 4
"""How often a photo's sides are halved: once by folding pixels into channels, then once a scale."""


class Remover(nn.Module):
    """A U-Net of four scales, the finest at half of the photo's sides: residuals are smooth, and photos enter in full all the same.

    Args:
        width: Channels of the finest scale; a multiple of 8. 32: 0.7 million weights.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        if width < 8 or width % 8:
            raise UsageError(f"width of the remover is {width}; give a multiple of 8 from 8 on")
        widths = [width, width * 3 // 2 // 8 * 8, width * 2, width * 4]
        self.width = width
        self.down = nn.ModuleList(_Block(a, b) for a, b in zip([12, *widths], widths, strict=False))
        self.up = nn.ModuleList(_Block(a + b, a) for a, b in itertools.pairwise(widths))
        self.last = nn.Conv2d(width, 12, 3, padding=1)
        nn.init.zeros_(self.last.weight)  # begins with "nothing was added"
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, photo: Tensor) -> Tensor:
        """The residual that it sees in photos (B, 3, H, W) in [0, 1]: the same shape and unit."""
        height, width = photo.shape[-2:]
        step = 2**HALVINGS
        padded = F.pad((photo - 0.5) * 4, (0, -width % step, 0, -height % step), mode="replicate")
        x, skips = F.pixel_unshuffle(padded, 2), []
        for number, block in enumerate(self.down):
            x = block(x if number == 0 else F.avg_pool2d(x, 2))
            skips.append(x)
        skips.pop()
        for block in reversed(self.up):
            x = block(torch.cat((skips.pop(), F.interpolate(x, scale_factor=2.0, mode="nearest")), 1))
        residual: Tensor = F.pixel_shuffle(self.last(x), 2)[..., :height, :width] * SCALE
        return residual

    @torch.no_grad()
    def remove(self, photos: Tensor, factor: float = 1.0, passes: int = 1, batch: int = 16) -> Tensor:
        """Photos (B, 3, H, W) in [0, 1] less `factor` times the residual that it sees, `passes` times one after the other."""
        parts = []
        for part in torch.split(photos, batch):
            for _ in range(passes):
                part = (part - factor * self(part)).clamp(0, 1)
            parts.append(part)
        return torch.cat(parts)

    def save(self, file: Path) -> None:
        """Write a safetensors file, complete or not at all."""
        weights = {name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()}
        with atomic.write(file) as part:
            save_file(weights, part, metadata={"width": str(self.width)})

    @staticmethod
    def load(file: Path) -> Remover:
        """A remover that `save` wrote.

        Raises:
            UsageError: There is no such file, or it holds other weights.
        """
        try:
            weights = load_file(file)
            remover = Remover(len(weights["last.weight"][0]))
            remover.load_state_dict(weights)
        except (OSError, KeyError, RuntimeError, SafetensorError) as error:
            raise UsageError(f"cannot read a remover from {file}: {error}; give a file that --save wrote") from error
        return remover.eval()


class _Block(nn.Module):
    """Two convolutions and a short cut: (B, inputs, h, w) → (B, outputs, h, w)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(outputs, outputs, 3, padding=1)
        self.norms = nn.ModuleList(nn.GroupNorm(8, outputs) for _ in range(2))
        self.short = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(F.silu(self.norms[0](self.first(x))))
        out: Tensor = self.short(x) + F.silu(self.norms[1](y))
        return out
