"""A timm backbone with a light pyramid decoder and one head for each perturbation space.

The backbone is trained from scratch (nothing can be downloaded where this trains), on batches of a few photos. That
decides the details: batch norm becomes group norm, or keeps fixed statistics where the weights of an identity embedder are taken
over. Both heads paint at full strength from the first step on; what is learned is the pattern.

The default backbone was chosen by how well it follows a fixed random network's photo-dependent fields on unseen
portraits after 14 s of one CPU core (R², one seed, working size 64, batch 8; steps in brackets):
mobilenetv4_conv_small 0.63 (238), edgenext_xx_small 0.61 (321), resnet10t 0.61 (199), convnextv2_atto 0.56 (179),
convnext_zepto_rms 0.53 (156). timm's tiny test_resnet reached 0.64 in 494 steps but 0.59 in the 250 that gave resnet10t
0.62; steps are what is scarce here, since the surrogate costs more than any of these.
"""

from __future__ import annotations

import itertools
import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anti_i2v.errors import UsageError
from anti_i2v.generators import pyramid
from anti_i2v.generators.base import Generator
from anti_i2v.generators.salience import SHIPPED
from anti_i2v.keys import KEY_SIZE
from anti_i2v.spaces import SPACES
from anti_i2v.spaces.frequency import cosines

BOUND = 1.5  # largest value of both heads' pattern in units of its root mean square, about
STRENGTH = 1.6  # that root mean square before the bound, in units of epsilon; the budget's tanh makes about 0.8 of both heads together
PLANES, CELLS = 16, 8  # of what a key paints into the decoder's coarsest map: planes, cells along each side
MAP = 16  # cells of the strength map along each side
LEAST = 0.3  # smallest value of the strength map: below it a price on visibility would switch a place off for good

SpaceName = Literal["dual", "rgb", "lab", "frequency"]


class BackboneGenerator(Generator):
    """Generator around any convolutional timm backbone.

    Args:
        backbone: Name in `timm.list_models()`, built without pretrained weights.
        working_size: Pixels of the square copy of a window that it sees, ≥ 32.
        chroma_size: Side of the a*/b* or RGB field, ≤ working_size.
        cutoff: DCT coefficients along each axis, ≤ working_size.
        space: Where its residual lives: `dual` is `lab` and `frequency` together, as in Anti-I2V (arXiv 2603.24570), and the default;
            `rgb` is a field of all three colours.
        width: Channels of the decoder.
        backbone_width: Channels of the first of a ResNet's four stages, each further having twice as many; 0 leaves the backbone as it is.
        frozen_norm: Keep the backbone's batch norms, with fixed statistics, instead of group norms; for `start_from`.
        keyed: Whether the photo's key decides the pattern, too: it scales and shifts channels of the decoder and adds a coarse picture.
        start_from: Folder of an objective embedder, or the name of a shipped one: the backbone begins with its weights, so
            that it knows faces before its first step. Of the same backbone, with `frozen_norm`; not part of the configuration.
        salience: See `Generator`.

    Raises:
        UsageError: Unknown backbone (close names are listed), one without feature maps, impossible sizes, or an identity embedder
            that does not fit.
    """

    def __init__(
        self,
        backbone: str = "mobilenetv4_conv_small",
        working_size: int = 64,
        chroma_size: int = 16,
        cutoff: int = 16,
        width: int = 64,
        backbone_width: int = 0,
        frozen_norm: bool = False,
        start_from: str | None = None,
        space: SpaceName = "dual",
        keyed: bool = False,
        salience: str | None = SHIPPED,
    ) -> None:
        super().__init__(salience)
        _check(space, working_size, chroma_size, cutoff, width, start_from, frozen_norm)
        self.space, names = space, ("lab", "frequency") if space == "dual" else (space,)
        self.backbone_name, self.working_size = backbone, working_size
        self.chroma_size, self.cutoff, self.width = chroma_size, cutoff, width

        self.backbone_width, self.frozen_norm = backbone_width, frozen_norm
        self.backbone, channels, sizes = pyramid.feature_pyramid(backbone, working_size, backbone_width, frozen_norm)
        if start_from is not None:
            pyramid.start_from(self.backbone, start_from)
        self.sides = {name: cutoff if name == "frequency" else chroma_size for name in names}
        wanted = max(self.sides.values())
        # Deepest first, and no further up than the heads' resolution: parameters without a gradient upset DDP.
        self.used = list(reversed(range(len(sizes))))
        while len(self.used) > 1 and sizes[self.used[-2]] >= wanted:
            self.used.pop()
        laterals: list[nn.Module] = [nn.Conv2d(channels[i], width, 1) for i in self.used]
        widths = [width] * len(laterals)
        stems: list[nn.Module] = []
        finest = sizes[self.used[-1]]
        for stride in (2, 1):
            if finest < wanted and math.ceil(working_size / stride) > finest:
                finest = math.ceil(working_size / stride)
                widths.append(max(16, width // 16 * 8))  # half of it: this close to full size, channels are dear
                stems.append(_block(4, widths[-1], stride))
        self.laterals, self.stems = nn.ModuleList(laterals), nn.ModuleList(stems)
        steps = list(itertools.pairwise(widths))
        self.narrow = nn.ModuleList(nn.Conv2d(a, b, 1) if a != b else nn.Identity() for a, b in steps)
        self.merges = nn.ModuleList(_block(b, b) for _, b in steps)
        # The deepest map of a large photo is not yet global, so its mean is added; epsilon joins here and at the end.
        self.context = nn.Linear(channels[self.used[0]] + 1, width)
        self.gain = nn.Linear(1, widths[-1])
        for name in names:
            setattr(self, f"{name}_head", _head(widths[-1], SPACES[name].channels))
        self.keyed = keyed
        if keyed:
            self.key_planes = _random_linear(KEY_SIZE, PLANES * CELLS * CELLS, 1.0)
            self.key_mix = nn.Conv2d(PLANES, width, 1)
            nn.init.normal_(self.key_mix.weight, std=0.3 / math.sqrt(PLANES))
            self.key_channels = nn.ModuleList(_random_linear(KEY_SIZE, 2 * channels, 0.3) for channels in widths[1:])
        self.strength_map = _strength_map(widths[-1])
        # One head alone changes pixels as strongly as two that are independent of one another.
        self.strength = STRENGTH * math.sqrt(2 / len(names))
        self.register_buffer("basis", cosines(cutoff, cutoff), persistent=False)
        self.basis: Tensor

    def config(self) -> dict[str, str | int | float]:
        return {
            "backbone": self.backbone_name,
            "working_size": self.working_size,
            "chroma_size": self.chroma_size,
            "cutoff": self.cutoff,
            "width": self.width,
            "backbone_width": self.backbone_width,
            "frozen_norm": self.frozen_norm,
            "space": self.space,
            "keyed": self.keyed,
        }

    def forward(self, window: Tensor, epsilon: Tensor, key: Tensor) -> dict[str, Tensor]:
        # 0 … 1 for 0 … 32, in doublings: 2 and 4 differ as much as 8 and 16.
        strength = (torch.log2(1 + epsilon) / 5).view(-1, 1).to(window.dtype)
        x = self.decode(window, strength, key.to(window.dtype))
        # Where in the window the budget goes; in fp32, since not every scaling knows bfloat16.
        local = LEAST + (1 - LEAST) * torch.sigmoid(self.strength_map(_scaled(x.float(), MAP)).float())
        x = x * (1 + self.gain(strength))[:, :, None, None]
        parameters = {}
        for name, side in self.sides.items():
            pattern = _pattern(self.get_submodule(f"{name}_head")(_scaled(x, side)), self.strength)
            parameters[name] = (pattern * _scaled(local, side)).float()
        if "frequency" in parameters:
            # The head draws a K × K picture (what convolutions are good at); its DCT is what is handed on. In fp32, since
            # half precision loses more than the budget here.
            with torch.autocast(window.device.type, enabled=False):
                parameters["frequency"] = self.basis.T @ parameters["frequency"] @ self.basis
        return parameters

    def decode(self, window: Tensor, strength: Tensor, key: Tensor) -> Tensor:
        """The finest map of the decoder, (N, channels, h, w); `strength` (N, 1) says how large epsilon is."""
        plane = strength[:, :, None, None].expand(-1, 1, *window.shape[-2:])
        stacked = torch.cat(((window - 0.5) * 4, plane), dim=1)
        features = self.backbone(stacked)
        deepest = features[self.used[0]]
        context = self.context(torch.cat((deepest.mean((2, 3)), strength), dim=1))
        x: Tensor = self.laterals[0](deepest) + context[:, :, None, None]
        if self.keyed:
            planes = self.key_planes(key).view(-1, PLANES, CELLS, CELLS)
            x = x + self.key_mix(F.interpolate(planes, x.shape[-2:], mode="bilinear", align_corners=False))
        skips = [lateral(features[i]) for lateral, i in zip(self.laterals[1:], self.used[1:], strict=True)]
        skips += [stem(stacked) for stem in self.stems]
        for step, (narrow, merge, skip) in enumerate(zip(self.narrow, self.merges, skips, strict=True)):
            x = merge(F.interpolate(narrow(x), skip.shape[-2:], mode="bilinear", align_corners=False) + skip)
            if self.keyed:
                scale, shift = self.key_channels[step](key)[:, :, None, None].chunk(2, 1)
                x = x * (1 + scale) + shift
        return x


def _check(space: str, working_size: int, chroma_size: int, cutoff: int, width: int, start_from: str | None, frozen_norm: bool) -> None:
    """Refuse sizes and names that no generator can have."""
    if space not in get_args(SpaceName):
        raise UsageError(f"space is {space!r}; choose one of {', '.join(get_args(SpaceName))}")
    for name, size in (("chroma_size", chroma_size), ("cutoff", cutoff)):
        if not 1 <= size <= working_size:
            raise UsageError(f"{name} {size} must be between 1 and working_size {working_size}")
    if working_size < 32 or width < 16 or width % 8:
        raise UsageError(f"working_size {working_size} must be ≥ 32, and width {width} a multiple of 8 from 16 on")
    if start_from is not None and not frozen_norm:
        raise UsageError(f"start_from {start_from} would lose the norms that its weights were trained with; set frozen_norm=true")


def _pattern(x: Tensor, strength: float) -> Tensor:
    """The same strength for every photo, and without a mean: (B, C, h, w) → the same.

    With a mean, the first thing training finds is to tint the whole photo by epsilon, and it never leaves that: features and clips
    move by as much, and the video is as good as ever. With a free strength, the second thing it finds is one pattern for all photos at
    twice the budget, where the budget's tanh has hardly a gradient left: what a photo's own pattern could be is learned late or never.
    """
    x = x - x.mean((2, 3), keepdim=True)
    x = x / x.square().mean((1, 2, 3), keepdim=True).add(1e-6).sqrt()
    x = torch.tanh(x / BOUND)
    return strength * BOUND * (x - x.mean((2, 3), keepdim=True))


def _scaled(x: Tensor, size: int) -> Tensor:
    if x.shape[-1] == size:
        return x
    if x.shape[-1] < size:
        return F.interpolate(x, (size, size), mode="bilinear", align_corners=False)
    return F.interpolate(x, (size, size), mode="bilinear", antialias=True, align_corners=False)


def _block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.GroupNorm(outputs // 8, outputs), nn.GELU())


def _head(width: int, outputs: int) -> nn.Sequential:
    last = nn.Conv2d(width, outputs, 3, padding=1, bias=False)
    # GELU of a normalised map has a mean square of about 0.42.
    nn.init.normal_(last.weight, std=1 / math.sqrt(0.42 * 9 * width))
    return nn.Sequential(_block(width, width), last)


def _random_linear(inputs: int, outputs: int, deviation: float) -> nn.Linear:
    """A layer whose outputs have such a standard deviation for standard normal inputs."""
    layer = nn.Linear(inputs, outputs)
    nn.init.normal_(layer.weight, std=deviation / math.sqrt(inputs))
    nn.init.zeros_(layer.bias)
    return layer


def _strength_map(width: int) -> nn.Sequential:
    """Near 1 everywhere before training: what a place is spared is learned."""
    last = nn.Conv2d(32, 1, 3, padding=1)
    nn.init.zeros_(last.weight)
    nn.init.constant_(last.bias, 2.0)  # type: ignore[arg-type]
    return nn.Sequential(_block(width, 32), last)
