"""One step against a surrogate, of trained or random weights: what `anti-i2v plan` counts, run for real by other benchmarks.

Random weights are made on the device itself, in the type asked for, and only as far as the deepest tap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from anti_i2v.surrogates import Draw, Surrogate
from anti_i2v.surrogates.capture import count_blocks
from anti_i2v.surrogates.loading import read_index
from anti_i2v.surrogates.memory.empty import build_empty
from anti_i2v.surrogates.memory.estimate import MemoryEstimate, estimate_memory
from anti_i2v.surrogates.pipeline import PipelineSurrogate
from anti_i2v.surrogates.registry import find_family

STEPS = 20
"""Length of the schedule, of which the noisiest step is taken."""
PROMPT = "a person"


@dataclass(frozen=True)
class Setting:
    """What is measured; the arguments of `estimate_memory`."""

    source: str
    taps: tuple[str, ...]
    height: int
    width: int
    num_frames: int
    batch: int = 1
    dtype: Literal["float32", "bfloat16"] = "float32"
    checkpointing: bool = False

    def need(self) -> MemoryEstimate:
        """The plan."""
        sizes = (self.height, self.width, self.num_frames, self.batch)
        return estimate_memory(self.source, self.taps, *sizes, self.dtype, self.checkpointing)


def trained_surrogate(setting: Setting, device: torch.device) -> Surrogate:
    """The surrogate with its own weights, for features only."""
    sizes, prompts = (setting.height, setting.width, setting.num_frames, STEPS), [PROMPT]
    settings = (setting.dtype, setting.checkpointing, True)
    return Surrogate.from_pretrained(setting.source, setting.taps, *sizes, prompts, *settings).to(device)


def random_surrogate(setting: Setting, device: torch.device) -> Surrogate:
    """The surrogate of a configuration with random weights, for features only, its denoiser as long as its deepest tap needs."""
    location, index = read_index(setting.source)
    family = find_family(setting.source, index)
    assert issubclass(family, Surrogate)
    blocks = count_blocks(setting.taps, family.block_lists)
    # Where photos go through a language model as well, prompts are its tokens, which cannot be random numbers.
    without = (*family.unused_parts, *(() if family.photo_parts else family.text_encoders()))
    pipeline = build_empty(device, location, getattr(torch, setting.dtype), without, dict.fromkeys(family.denoiser_names, blocks))
    surrogate = family(pipeline, setting.taps, setting.height, setting.width, setting.num_frames, STEPS)
    if family.photo_parts:
        surrogate.encode_text([PROMPT])
        surrogate.drop_text_encoder()
    if setting.checkpointing:
        surrogate.checkpoint_layers()
    surrogate.keep_features_only()
    return surrogate.to(device)


def inputs(surrogate: Surrogate, batch: int, random_weights: bool = True) -> tuple[Tensor, dict[str, Tensor], Draw]:
    """Random photos that ask for a gradient, text, and a draw of the noisiest step."""
    assert isinstance(surrogate, PipelineSurrogate)  # the benchmarks of steps run whole pipelines
    random = torch.Generator().manual_seed(0)
    photos = torch.rand(batch, 3, surrogate.height, surrogate.width, generator=random).to(surrogate.device).requires_grad_()
    if surrogate.photo_parts or not random_weights:
        text = surrogate.encode_text([PROMPT] * batch)
    else:  # all tokens are read, whatever type their mask has
        text = {
            name: torch.randn(batch, *shape, generator=random).to(surrogate.device, kind)
            if kind.is_floating_point and "mask" not in name
            else torch.ones(batch, *shape, dtype=kind, device=surrogate.device)
            for name, (shape, kind) in surrogate.text_shapes().items()
        }
    draw = surrogate.draw(batch, random)
    return photos, text, Draw(0, surrogate.timesteps[0].to(surrogate.device), surrogate.sigmas[0], draw.noise, draw.image_noise)


def step(surrogate: Surrogate, photos: Tensor, text: dict[str, Tensor], draw: Draw) -> None:
    """Features at the taps, and their gradient with respect to the photos."""
    photos.grad = None
    sum(value.square().mean() for value in surrogate(photos, text, draw).values()).backward()


def all_tensors(surrogate: Surrogate) -> list[Tensor]:
    """Weights and buffers of all networks, and the surrogate's own."""
    assert isinstance(surrogate, PipelineSurrogate)  # the benchmarks of steps run whole pipelines
    parts = [part for part in surrogate.pipeline.components.values() if isinstance(part, nn.Module)]
    return [tensor for part in (*parts, surrogate) for tensor in (*part.parameters(), *part.buffers())]
