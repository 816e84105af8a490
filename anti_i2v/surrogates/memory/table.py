"""The table of `anti-i2v plan`: what a training step needs in every setting, and on which cards it fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from anti_i2v.errors import UsageError
from anti_i2v.surrogates.autoencoders.source import find_autoencoder
from anti_i2v.surrogates.memory.estimate import GIB, estimate_memory, text_encoder_bytes

CARDS = (24, 48, 80, 141)
"""Memory of common cards in GiB: RTX 4090, L40S or A6000, A100 or H100, H200."""
USABLE = 0.92
"""Share of a card that tensors may take: the rest is the context, workspaces of kernels, and gaps between tensors."""

DTYPES: tuple[Literal["float32", "bfloat16"], ...] = ("float32", "bfloat16")
"""Types of the denoiser's weights."""


def memory_table(source: str, taps: Sequence[str], height: int, width: int, num_frames: int, batch_size: int = 1) -> list[str]:
    """Estimate a training step in every setting, without loading weights; arguments as in `estimate_memory`.

    Returns:
        Lines for people.

    Raises:
        UsageError: The source is no supported pipeline, or the other arguments do not fit it.
    """
    if batch_size < 1:
        raise UsageError(f"the batch is {batch_size}; plan a step of at least 1 photo")
    sizes = (height, width, num_frames, batch_size)
    types = DTYPES if find_autoencoder(source) is None else DTYPES[:1]  # an autoencoder is always float32
    estimates = {(dtype, again): estimate_memory(source, taps, *sizes, dtype, again) for dtype in types for again in (False, True)}
    photos = f"{batch_size} photo{'s' * (batch_size > 1)} of {height} x {width} a step"
    lines = [f"{source}: {photos}, clips of {num_frames} frames, taps {','.join(taps)}", ""]
    lines.append("weights, GiB" + " " * 16 + "".join(f"{dtype:>12}" for dtype in types))
    for part in estimates["float32", False].weights:
        lines.append(f"  {part:26}" + "".join(f"{estimates[dtype, False].weights[part] / GIB:12.2f}" for dtype in types))
    text_encoders = [text_encoder_bytes(source, dtype) / GIB for dtype in types]
    if any(text_encoders):
        lines.append(f"  {'text encoder, once, before':26}" + "".join(f"{size:12.2f}" for size in text_encoders))
    cards = "".join(f"{f'{card} GiB':>9}" for card in CARDS)
    lines += ["", f"{'setting (features_only)':28}{'weights':>9}{'+ step':>9}{'= GiB':>9}{cards}"]
    for (dtype, checkpointing), need in estimates.items():
        fits = "".join(f"{'fits' if need.total <= USABLE * card * GIB else '-':>9}" for card in CARDS)
        name = dtype + ", checkpointing" * checkpointing
        lines.append(f"{name:28}{(need.total - need.peak) / GIB:9.2f}{need.peak / GIB:9.2f}{need.total / GIB:9.2f}{fits}")
    flops = min(need.flops for need in estimates.values())
    card = f"a card counts as fitting where {USABLE:.0%} of it is enough."
    return [*lines, "", f"{flops / 1e12:.3g} TFLOP a step without checkpointing; {card}"]
