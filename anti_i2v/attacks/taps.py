"""Which layers the per-photo methods read, found in a surrogate's own modules."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from anti_i2v.errors import UsageError
from anti_i2v.probing.blocks import every_block
from anti_i2v.surrogates import Surrogate
from anti_i2v.surrogates.draw import VAE_LAYERS
from anti_i2v.surrogates.pipeline import PipelineSurrogate

SELF_ATTENTION = ("attn1", "attn", "self_attention")
"""What transformer blocks of diffusers call the attention of the picture's tokens to each other."""

TEMPORAL = ("temporal_transformer_blocks", "temp_attentions")
"""Lists of U-Net layers with attention between the frames of one place."""

PAPER_BLOCKS = 42
"""Blocks of CogVideoX-5B, of which Anti-I2V says which it compares."""


def with_denoiser(surrogate: Surrogate) -> PipelineSurrogate:
    """The surrogate, if it is a whole pipeline.

    Raises:
        UsageError: It is an autoencoder alone.
    """
    if isinstance(surrogate, PipelineSurrogate):
        return surrogate
    name = type(surrogate.vae).__name__
    raise UsageError(f"{name} alone has no denoiser, which this method reads; choose photoguard or identity, or name a whole pipeline")


def denoiser_blocks(surrogate: Surrogate) -> list[str]:
    """Every block of the denoiser, in the order of computation."""
    pipeline = with_denoiser(surrogate)
    return every_block(pipeline.denoiser, pipeline.block_lists)


def depth(surrogate: Surrogate, tap: str) -> float:
    """Number of the block that a layer is or lies in; NaN, which no comparison holds for, of layers outside the blocks."""
    return next((i for i, block in enumerate(denoiser_blocks(surrogate)) if f"{tap}.".startswith(f"{block}.")), math.nan)


def encoder_layers(surrogate: Surrogate) -> list[str]:
    """The stages of the autoencoder's encoder as taps, in the order of computation: its blocks down, then the middle.

    Raises:
        UsageError: The encoder has no blocks by the usual names.
    """
    encoder, layers = getattr(surrogate.vae, "encoder", None), []
    for name in ("down_blocks", "mid_block"):
        child = getattr(encoder, name, None)
        within = [f"{name}.{i}" for i in range(len(child))] if isinstance(child, nn.ModuleList) else [name] * (child is not None)
        layers += [f"{VAE_LAYERS}encoder.{layer}" for layer in within]
    if not layers:
        raise UsageError(f"{type(surrogate.vae).__name__} has no encoder with down_blocks; choose a method that reads no layers of it")
    return layers


def collapsed_layers(surrogate: Surrogate) -> tuple[list[str], str]:
    """The deep layers that Anti-I2V collapses and the shallow one that they collapse to, all of one shape.

    Of a transformer see `collapsed_blocks`. Blocks of a U-Net differ in shape: there the layers are the last three at most within its
    last block, and the first within its first, which are both at full resolution.

    Raises:
        UsageError: The denoiser is too shallow.
    """
    blocks = denoiser_blocks(surrogate)
    if blocks[0] != "down_blocks.0":
        return collapsed_blocks(blocks)
    first, last = (with_denoiser(surrogate).denoiser.get_submodule(name) for name in (blocks[0], blocks[-1]))
    inner = "attentions" if all(isinstance(getattr(block, "attentions", None), nn.ModuleList) for block in (first, last)) else "resnets"
    within = [f"{blocks[-1]}.{inner}.{i}" for i in range(len(getattr(last, inner)))]
    return within[-3:], f"{blocks[0]}.{inner}.0"


def collapsed_blocks(blocks: Sequence[str]) -> tuple[list[str], str]:
    """The last three of a transformer's blocks, and block 3 of CogVideoX-5B's 42 or the one at the same share of the depth.

    What the paper says of block 3 is that there is hardly any meaning there yet, and depth decides that.

    Raises:
        UsageError: There is only one.
    """
    shallow = round(3 / PAPER_BLOCKS * len(blocks))
    deep = list(blocks[max(shallow + 1, len(blocks) - 3) :])
    if not deep:
        raise UsageError(f"the denoiser has {len(blocks)} block, too few to collapse one to another; choose another method")
    return deep, blocks[shallow]


def temporal_attention(surrogate: Surrogate) -> tuple[list[str], bool]:
    """Layers with attention between frames, and whether they attend over time alone.

    U-Nets have attention over time alone. Transformers attend over space and time at once: there the self-attention of every block
    is used, and the second value is False.

    Raises:
        UsageError: No layer of the denoiser is called as either is.
    """
    denoiser = with_denoiser(surrogate).denoiser
    names = [name for name, _ in denoiser.named_modules() if name.endswith(".attn1") and any(part in name for part in TEMPORAL)]
    if names:
        return names, True
    layers = []
    for block in denoiser_blocks(surrogate):
        module = denoiser.get_submodule(block)
        inside = next((name for name in SELF_ATTENTION if isinstance(getattr(module, name, None), nn.Module)), None)
        layers += [f"{block}.{inside}"] if inside else []
    if not layers:
        raise UsageError(f"{type(denoiser).__name__} has no {', '.join(SELF_ATTENTION)} in its blocks; name layers with --taps")
    return layers, False
