"""dlib's face network (ResNet-29, 150 × 150 → 128 numbers; CC0), read from its own file and run in torch, differentiably.

King 2017, https://blog.dlib.net/2017/02/high-quality-face-recognition-with-deep.html; the file comes with the package
`face-recognition-models`. dlib itself is not needed, and nothing is unpickled.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anti_i2v.embedders.alignment import DLIB
from anti_i2v.embedders.base import CERTAIN, Embedder
from anti_i2v.errors import UsageError
from anti_i2v.imaging.detection import models_folder

NAME = "dlib"
FILE = "dlib_face_recognition_resnet_model_v1.dat"
MEAN_COLOUR = (122.782, 117.001, 104.298)
"""What dlib takes away from pixels in [0, 255] before it divides them by 256."""
LEVELS = ((32, 3, False), (64, 4, True), (128, 3, True), (256, 3, True), (256, 1, True))
"""Channels and residual blocks of each level, and whether its first block halves the map."""
REMEDY = f"give {FILE} of the package face-recognition-models"


class Affine(nn.Module):
    """A factor and a shift for each channel: what dlib makes of batch normalisation after training."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma, self.beta = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → the same shape."""
        return x * self.gamma.view(-1, 1, 1) + self.beta.view(-1, 1, 1)


class Residual(nn.Module):
    """Two convolutions of 3 × 3 beside a short cut, which is averaged over 2 × 2 where the block halves its map."""

    def __init__(self, channels_in: int, channels: int, halves: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels_in, channels, 3, 2, 0) if halves else nn.Conv2d(channels_in, channels, 3, 1, 1)
        self.first_affine = Affine(channels)
        self.second, self.second_affine = nn.Conv2d(channels, channels, 3, 1, 1), Affine(channels)
        self.halves = halves

    def forward(self, x: Tensor) -> Tensor:
        """Add as dlib does, for which tensors of different sizes are filled up with zeros on the right, below and in channels."""
        y = self.second_affine(self.second(F.relu(self.first_affine(self.first(x)))))
        if self.halves:
            x = F.avg_pool2d(x, 2, 2)
        sizes = [max(a, b) for a, b in zip(x.shape[1:], y.shape[1:], strict=True)]
        return F.relu(_filled(x, sizes) + _filled(y, sizes))


def _filled(x: Tensor, sizes: Sequence[int]) -> Tensor:
    missing = [size - own for own, size in zip(x.shape[1:], sizes, strict=True)]
    return F.pad(x, (0, missing[2], 0, missing[1], 0, missing[0])) if any(missing) else x


class DlibEmbedder(Embedder):
    """dlib's face network behind the interface of identity embedders.

    Its descriptors are not of unit length and are meant for the Euclidean distance: below 0.6 is the same person. All of them lie in one
    direction, so that a cosine between descriptors is near 1 for any two people. `embed` therefore takes the mean descriptor of many
    people away before it normalises: between strangers, cosines are then 0.00 ± 0.16 (100 portraits that the mean does not know), and a
    distance of 0.6 is a cosine of about 0.32. `descriptor` gives dlib's own numbers.

    Args:
        levels: See `LEVELS`.
        dim: Length of a descriptor.
        centre: (dim,) the mean descriptor; zeros by default.
    """

    centre: Tensor
    mean_colour: Tensor

    def __init__(self, levels: Sequence[tuple[int, int, bool]] = LEVELS, dim: int = 128, centre: Sequence[float] | None = None) -> None:
        super().__init__()
        self.name, self.dim, self.size, self.template = NAME, dim, DLIB.size, DLIB
        channels = levels[0][0]
        self.stem, self.stem_affine = nn.Conv2d(3, channels, 7, 2, 0), Affine(channels)
        self.blocks = nn.ModuleList()
        for width, count, halves in levels:
            for i in range(count):
                self.blocks.append(Residual(channels, width, halves and i == 0))
                channels = width
        self.head = nn.Linear(channels, dim, bias=False)
        self.register_buffer("centre", torch.zeros(dim) if centre is None else torch.tensor(centre))
        self.register_buffer("mean_colour", torch.tensor(MEAN_COLOUR).view(3, 1, 1), persistent=False)

    def descriptor(self, images: Tensor) -> Tensor:
        """Return dlib's descriptors (N, dim) of aligned faces (N, 3, 150, 150) in [0, 1]; see `crop`."""
        x = (255 * images.float() - self.mean_colour) / 256
        x = F.max_pool2d(F.relu(self.stem_affine(self.stem(x))), 3, 2)
        for block in self.blocks:
            x = block(x)
        descriptors: Tensor = self.head(x.mean((2, 3)))
        return descriptors

    def embed(self, images: Tensor, faces: int | None = None) -> tuple[Tensor, Tensor]:
        """See `Embedder.embed`; the network cannot tell whether there is a face: every logit is `CERTAIN`."""
        embedding = F.normalize(self.descriptor(images[:faces]) - self.centre, dim=1)
        return embedding, torch.full((len(images),), CERTAIN, device=images.device)


class _Reader:
    """Reads what `dlib::serialize` wrote, in the order of the file."""

    def __init__(self, data: bytes, name: str) -> None:
        self.data, self.at, self.name = data, 0, name

    def number(self) -> int:
        """A whole number: a byte that says how many follow (its first bit is the sign), then those, the lowest first."""
        control = self.data[self.at] if self.at < len(self.data) else 0
        length = control & 0x0F
        if not 1 <= length <= 8 or control & 0x70 or self.at + 1 + length > len(self.data):
            raise self.damaged("a whole number")
        value = int.from_bytes(self.data[self.at + 1 : self.at + 1 + length], "little")
        self.at += 1 + length
        return -value if control & 0x80 else value

    def layer(self, kind: str) -> None:
        """Go behind the name of the next layer of a kind, such as `con_4`."""
        label = b"\x01" + bytes([len(kind)]) + kind.encode()
        found = self.data.find(label, self.at)
        if found < 0:
            raise self.damaged(f"a layer {kind}")
        self.at = found + len(label)

    def tensor(self, count: int) -> Tensor:
        """A tensor of so many float32: version 2, four sizes, little-endian values."""
        version, sizes = self.number(), [self.number() for _ in range(4)]
        if version != 2 or int(np.prod(sizes)) != count:
            raise self.damaged(f"a tensor of version 2 with {count} values, instead of version {version} and sizes {sizes}")
        if self.at + 4 * count > len(self.data):
            raise self.damaged(f"{count} values")
        values = np.frombuffer(self.data, "<f4", count, self.at).astype(np.float32)
        if not np.isfinite(values).all():
            raise self.damaged("finite values")
        self.at += 4 * count
        return torch.from_numpy(values)

    def damaged(self, what: str) -> UsageError:
        return UsageError(
            f"{self.name} is not dlib's face network, or damaged: expected {what} at byte {self.at} of {len(self.data)}; {REMEDY}"
        )


@torch.no_grad()
def read_weights(network: DlibEmbedder, file: Path) -> None:
    """Fill a network from dlib's file, in place.

    Raises:
        UsageError: The file is missing, another network's, or damaged.
    """
    if not file.is_file():
        raise UsageError(f"no file {file}; {REMEDY}")
    reader = _Reader(file.read_bytes(), str(file))
    for layer in network.modules():  # in the order in which they were made, which is that of the file
        if isinstance(layer, nn.Conv2d):
            reader.layer("con_4")
            values = reader.tensor(layer.weight.numel() + layer.out_channels)
            layer.weight.copy_(values[: -layer.out_channels].view_as(layer.weight))
            assert layer.bias is not None
            layer.bias.copy_(values[-layer.out_channels :])
        elif isinstance(layer, Affine):
            reader.layer("affine_")
            gamma, beta = reader.tensor(2 * len(layer.gamma)).chunk(2)
            layer.gamma.copy_(gamma)
            layer.beta.copy_(beta)
        elif isinstance(layer, nn.Linear):
            reader.layer("fc_2")
            reader.number(), reader.number()  # the numbers of outputs and inputs
            layer.weight.copy_(reader.tensor(layer.weight.numel()).view(layer.in_features, layer.out_features).T)


def load_dlib() -> DlibEmbedder:
    """Load dlib's face network with the weights of the package `face-recognition-models`, in evaluation mode, frozen.

    Raises:
        UsageError: The package is not installed, or its file is damaged.
    """
    from anti_i2v.embedders.dlib_centre import CENTRE

    network = DlibEmbedder(centre=CENTRE)
    read_weights(network, models_folder("the identity embedder 'dlib'") / FILE)
    return network.eval().requires_grad_(False)
