"""Tiny distilled autoencoders of videos, in the layout of TAEHV's weights (github.com/madebyollin/taehv, MIT).

Each is trained to give the latents of a large autoencoder (of Wan, HunyuanVideo, CogVideoX, LTX-2), in files of 10 to 25 MB:
a laptop can train against it. The networks are chains of 2-D convolutions of single frames, layers that make one frame of
several or several of one, and blocks that also see the frame before. The shapes of the weights say all of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anti_i2v.errors import UsageError

Shapes = Mapping[str, Sequence[int]]
"""Name of a weight → its shape."""

SOFT_LIMIT = 3.0
"""Latents are squeezed into ± this before they are decoded."""


def frame_by_frame(function: Callable[[Tensor], Tensor], clips: Tensor) -> Tensor:
    """A function of pictures `(N, C, h, w)` on every frame of clips `(B, T, C, h, w)`."""
    frames = function(clips.flatten(0, 1))
    return frames.reshape(*clips.shape[:2], *frames.shape[1:])


class FrameConv(nn.Conv2d):
    """A 3 × 3 convolution of every frame; `(B, T, C, h, w)` like all layers here."""

    def forward(self, input: Tensor) -> Tensor:
        return frame_by_frame(super().forward, input)


class SoftClamp(nn.Module):
    """Squeezes values into ± `SOFT_LIMIT`."""

    def forward(self, clips: Tensor) -> Tensor:
        return SOFT_LIMIT * torch.tanh(clips / SOFT_LIMIT)


class Enlarge(nn.Module):
    """Every pixel twice in either direction."""

    def forward(self, clips: Tensor) -> Tensor:
        return clips.repeat_interleave(2, -2).repeat_interleave(2, -1)


class TimePool(nn.Module):
    """`stride` frames become one."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv2d(channels * stride, channels, 1, bias=False)

    def forward(self, clips: Tensor) -> Tensor:
        batch, frames, channels, *size = clips.shape
        return frame_by_frame(self.conv, clips.reshape(batch, frames // self.stride, self.stride * channels, *size))


class TimeGrow(nn.Module):
    """One frame becomes `stride`."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv2d(channels, channels * stride, 1, bias=False)

    def forward(self, clips: Tensor) -> Tensor:
        batch, frames, channels, *size = clips.shape
        return frame_by_frame(self.conv, clips).reshape(batch, frames * self.stride, channels, *size)


class MemoryBlock(nn.Module):
    """A residual block that sees each frame and the one before it; before the first there is black."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(2 * before, after, 3, padding=1)]
        for _ in range(2):
            layers += [nn.ReLU(), nn.Conv2d(after, after, 3, padding=1)]
        self.conv = nn.Sequential(*layers)
        self.skip: nn.Module = nn.Identity() if before == after else nn.Conv2d(before, after, 1, bias=False)

    def forward(self, clips: Tensor) -> Tensor:
        earlier = F.pad(clips, (0, 0, 0, 0, 0, 0, 1, 0))[:, :-1]
        both = torch.cat([clips, earlier], dim=2)
        return torch.relu(frame_by_frame(self.conv, both) + frame_by_frame(self.skip, clips))


@dataclass(frozen=True)
class TinyLatents:
    """What `TinyVideoAutoencoder.encode` returns, like a class of diffusers without a distribution."""

    latents: Tensor


class TinyVideoAutoencoder(nn.Module):
    """A tiny autoencoder of videos, called as those of diffusers are. See `load_tiny_video` for one with weights.

    Args:
        shapes: Of its weights.

    Attributes:
        config: Pixels that become one of the latent, along a side.

    Raises:
        UsageError: The shapes are not of this layout.
    """

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        encoder, decoder = (_layers(shapes, part) for part in ("encoder", "decoder"))
        if not encoder or not isinstance(encoder[0], FrameConv):
            raise UsageError(f"no tiny video autoencoder: {_describe(shapes)}; it begins with encoder.0.weight in TAEHV's layout")
        self.encoder = nn.Sequential(*encoder)
        self.decoder: nn.Sequential | None = nn.Sequential(*decoder) if decoder else None
        self.patch = round((encoder[0].in_channels / 3) ** 0.5)
        if encoder[0].in_channels != 3 * self.patch**2:
            raise UsageError(f"its first layer reads {encoder[0].in_channels} channels, which are no square patches of RGB pixels")
        self.time_factor = math.prod(layer.stride for layer in encoder if isinstance(layer, TimePool))
        halvings = sum(isinstance(layer, FrameConv) and layer.stride == (2, 2) for layer in encoder)
        self.config = {"spatial_compression_ratio": self.patch * 2**halvings}

    def encode(self, pixels: Tensor) -> TinyLatents:
        """Clips `(B, 3, T, H, W)` in [-1, 1] → latents `(B, channels, frames, h, w)` as a denoiser knows them.

        The last frame is repeated until the pools divide the clip, so a photo stands still.
        """
        clips = (pixels.transpose(1, 2) + 1) / 2
        lacking = -clips.shape[1] % self.time_factor
        clips = torch.cat([clips, clips[:, -1:].expand(-1, lacking, -1, -1, -1)], dim=1)
        latents: Tensor = self.encoder(F.pixel_unshuffle(clips, self.patch))
        return TinyLatents(latents.transpose(1, 2))

    def decode(self, latents: Tensor, return_dict: bool = False) -> tuple[Tensor]:
        """Latents → clips `(B, 3, T, H, W)` in [-1, 1]; what grows in time before the first frame is cut off."""
        assert self.decoder is not None  # refused when the taps were checked
        growth = math.prod(layer.stride for layer in self.decoder if isinstance(layer, TimeGrow))
        clips: Tensor = F.pixel_shuffle(self.decoder(latents.transpose(1, 2)), self.patch)
        return (clips[:, growth - 1 :].transpose(1, 2) * 2 - 1,)


def _layers(shapes: Shapes, part: str) -> list[nn.Module]:
    """The chain of layers that has weights of these shapes; layers without weights stand in the gaps."""
    numbers = [int(name.split(".")[1]) for name in shapes if name.startswith(f"{part}.") and name.split(".")[1].isdigit()]
    layers: list[nn.Module] = []
    for i in range(max(numbers, default=-1) + 1):
        name = f"{part}.{i}"
        if (block := shapes.get(f"{name}.conv.0.weight")) is not None:
            layers.append(MemoryBlock(block[1] // 2, block[0]))
        elif (time := shapes.get(f"{name}.conv.weight")) is not None:
            after, before = time[0], time[1]
            layers.append(TimePool(after, before // after) if part == "encoder" else TimeGrow(before, after // before))
        elif (conv := shapes.get(f"{name}.weight")) is not None:
            halves = part == "encoder" and i > 0 and isinstance(layers[-1], TimePool)
            layers.append(FrameConv(conv[1], conv[0], 3, 2 if halves else 1, padding=1, bias=f"{name}.bias" in shapes))
        elif part == "decoder" and i == 0:
            layers.append(SoftClamp())
        elif part == "decoder" and f"{part}.{i + 1}.conv.weight" in shapes:
            layers.append(Enlarge())
        else:
            layers.append(nn.ReLU())
    return layers


def _describe(shapes: Shapes) -> str:
    return f"{len(shapes)} weights, such as {', '.join(sorted(shapes)[:3])}" if shapes else "there are no weights"


def read_shapes(file: str) -> dict[str, tuple[int, ...]]:
    """The shapes of a safetensors file's weights; the weights themselves are not read.

    Raises:
        UsageError: The file cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt") as weights:
            return {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118  # no mapping
    except (OSError, SafetensorError) as error:
        raise UsageError(f"cannot read {file}: {error}; fetch it again") from error


def load_tiny_video(file: str) -> TinyVideoAutoencoder:
    """The tiny video autoencoder of a safetensors file, in float32.

    Raises:
        UsageError: The file cannot be read, or its weights are not of this layout.
    """
    from safetensors.torch import load_file

    try:
        vae = TinyVideoAutoencoder(read_shapes(file))
        vae.load_state_dict({name: value.float() for name, value in load_file(file).items()})
    except (RuntimeError, ValueError, ZeroDivisionError, IndexError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"{file} is not in the layout of TAEHV's weights: {reason}; convert one of those with safetensors") from error
    except UsageError as error:
        raise UsageError(f"{file}: {error}") from error
    return vae
