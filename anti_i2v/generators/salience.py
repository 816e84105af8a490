"""The salience network: where faces are in a copy of a photo, and how high they are; and the folder it is kept in.

One network looks at copies of a photo at several scales (`anti_i2v.inference.windows.levels`) and knows faces of 10 to 44 pixels in the
copy. It is convolutional throughout, without any operation over the whole map, so what a place gets does not depend on what stands far
away, and a copy may have any height and width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from anti_i2v.embedders.folder import FORMAT, load_network, save_network
from anti_i2v.errors import UsageError

SHIPPED = "portrait-salience"
"""The salience network that ships."""

STRIDE = 4
"""Pixels of the copy along each side of a cell of the map."""

TYPICAL_HEIGHT = 20.0
"""Face height in pixels of the copy at which the map's fourth channel is 0."""

DILATIONS = (1, 1, 2, 2, 4, 1)


class SalienceNetwork(nn.Module):
    """A fully convolutional network from a copy of a photo to a map of faces.

    Args:
        width: Channels of its residual blocks, even.
        dilations: Of the 3 × 3 convolution of each residual block.

    Raises:
        UsageError: A width or dilation that no convolution can have.
    """

    def __init__(self, width: int = 32, dilations: Sequence[int] = DILATIONS) -> None:
        super().__init__()
        if width < 2 or width % 2:
            raise UsageError(f"width of the salience network is {width}; give an even number from 2 on")
        if not dilations or min(dilations) < 1:
            raise UsageError(f"dilations of the salience network are {list(dilations)}; give at least one, each from 1 on")
        self.width, self.dilations = width, tuple(dilations)
        self.stem = nn.Sequential(*_convolution(3, width // 2, 2), nn.ReLU(), *_convolution(width // 2, width, 2), nn.ReLU())
        self.blocks = nn.ModuleList(nn.Sequential(*_convolution(width, width, 1, dilation)) for dilation in self.dilations)
        self.head = nn.Conv2d(width, 4, 1)
        nn.init.zeros_(self.head.weight)
        # Faces are rare: with a bias of 0 the first steps would only unlearn them.
        self.head.bias = nn.Parameter(torch.tensor([-4.0, 0.0, 0.0, 0.0]))

    def config(self) -> dict[str, int | list[int]]:
        """The constructor's arguments."""
        return {"width": self.width, "dilations": list(self.dilations)}

    def forward(self, image: Tensor) -> Tensor:
        """The map of faces.

        Args:
            image: (B, 3, h, w) in [0, 1], sRGB, any h and w.

        Returns:
            (B, 4, ⌈h/4⌉, ⌈w/4⌉). Channel 0: logit of "a face's centre is in this cell"; 1 and 2: its place, y and x, in cells from the
            cell's middle; 3: log2 of the face's height in pixels of the copy over 20.
        """
        x = self.stem((image - 0.5) * 4)
        for block in self.blocks:
            x = (x + block(x)).relu()
        out: Tensor = self.head(x)
        return out


def _convolution(inputs: int, outputs: int, stride: int, dilation: int = 1) -> tuple[nn.Module, nn.Module]:
    """A 3 × 3 convolution with batch norm; a stride of 2 makes ⌈n/2⌉ of n."""
    convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=dilation, dilation=dilation, bias=False)
    return convolution, nn.BatchNorm2d(outputs)


def save_salience(network: SalienceNetwork, folder: str | Path) -> None:
    """Write a network's folder, `config.json` and `model.safetensors` (fp16), each complete or not at all; see `load_salience`."""
    save_network(network, {"format": FORMAT, "kind": "salience", **network.config()}, folder)


def load_salience(folder: str | Path = SHIPPED) -> SalienceNetwork:
    """The trained salience network of a folder, in fp32, in eval mode, frozen.

    Args:
        folder: A folder with `config.json` and `model.safetensors`, or the name of a shipped one.

    Raises:
        UsageError: See `load_network`.
    """
    remedy = f"give e.g. {SHIPPED}"

    def build(path: Path, settings: dict[str, Any]) -> SalienceNetwork:
        kind = settings.pop("kind", None)
        if kind != "salience":
            raise UsageError(f"{path} holds no salience network: its kind is {kind!r}, not 'salience'; {remedy}")
        return SalienceNetwork(**settings)

    return load_network(folder, "a salience network", remedy, build)
