"""`anti-i2v plan`: will training against a surrogate fit, and with which settings, known before a weight is fetched."""

from __future__ import annotations

import argparse
from typing import Literal

from anti_i2v.errors import UsageError

HELP = "will training against a video model fit into memory"
DESCRIPTION = """Count the memory of a training step against a surrogate from its configuration files alone: weights are not loaded,
of a pipeline on the hub they are not even fetched. The generator and its optimiser come on top, some hundred megabytes."""

CARDS = (24, 48, 80, 141)
"""GiB of memory of the cards that are asked about: RTX 4090, L40S or A6000, A100 or H100, H200."""
SPARE = 0.92
"""Share of a card that tensors may take: the rest is the context, workspaces of kernels, and gaps between tensors."""

SETTINGS: tuple[tuple[Literal["float32", "bfloat16"], bool], ...] = (
    ("float32", False),
    ("float32", True),
    ("bfloat16", False),
    ("bfloat16", True),
)
"""Type of the denoiser's weights, and whether layers are computed again in the backward pass."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `plan`."""
    parser.add_argument("--surrogate", required=True, metavar="SOURCE", help="pipeline folder, shipped name, or hub id")
    parser.add_argument("--taps", required=True, metavar="A,B", help="layers to read, such as blocks.10,blocks.20; also decoded")
    parser.add_argument("--height", type=int, required=True, help="of the photos, in pixels")
    parser.add_argument("--width", type=int, required=True)
    parser.add_argument("--num-frames", type=int, required=True, help="length of the clips")
    parser.add_argument("--batch-size", type=int, default=1, help="photos in a step (default: 1)")


def run(options: argparse.Namespace) -> int:
    """Print the plan; 0, also where nothing fits."""
    from anti_i2v.surrogates.memory.estimate import GIB, estimate_memory, text_encoder_bytes

    if options.batch_size < 1:
        raise UsageError(f"the batch is {options.batch_size}; plan a step of at least 1 photo")
    taps = options.taps.split(",")
    sizes = (options.height, options.width, options.num_frames, options.batch_size)
    needs = {setting: estimate_memory(options.surrogate, taps, *sizes, *setting) for setting in SETTINGS}
    photos = f"{options.batch_size} photo{'s' * (options.batch_size > 1)} of {options.height} x {options.width} a step"
    print(f"{options.surrogate}: {photos}, clips of {options.num_frames} frames, taps {options.taps}")
    print("\nweights, GiB" + " " * 16 + "".join(f"{dtype:>12}" for dtype in ("float32", "bfloat16")))
    for part in needs[SETTINGS[0]].weights:
        print(f"  {part:26}" + "".join(f"{needs[dtype, False].weights[part] / GIB:12.2f}" for dtype in ("float32", "bfloat16")))
    once = [text_encoder_bytes(options.surrogate, dtype) / GIB for dtype in ("float32", "bfloat16")]
    if any(once):
        print(f"  {'text encoder, once, before':26}" + "".join(f"{size:12.2f}" for size in once))
    cards = "".join(f"{f'{card} GiB':>9}" for card in CARDS)
    print(f"\n{'setting (features_only)':28}{'weights':>9}{'+ step':>9}{'= GiB':>9}{cards}")
    for (dtype, checkpointing), need in needs.items():
        fits = "".join(f"{'fits' if need.total <= SPARE * card * GIB else '-':>9}" for card in CARDS)
        name = dtype + ", checkpointing" * checkpointing
        print(f"{name:28}{(need.total - need.peak) / GIB:9.2f}{need.peak / GIB:9.2f}{need.total / GIB:9.2f}{fits}")
    best = min(needs.values(), key=lambda need: need.flops)
    print(f"\n{best.flops / 1e12:.3g} TFLOP a step without checkpointing; a card counts as fitting where {SPARE:.0%} of it is enough.")
    return 0
