"""`anti-i2v plan`: will training against a surrogate fit, and with which settings, known before a weight is fetched."""

from __future__ import annotations

import argparse

from anti_i2v.errors import UsageError

HELP = "will training against a video model fit into memory"
DESCRIPTION = """Count the memory of a training step against a surrogate from its configuration files alone: weights are not loaded,
of a pipeline on the hub they are not even fetched. The generator and its optimiser come on top, some hundred megabytes."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `plan`."""
    parser.add_argument(
        "--surrogate", required=True, metavar="SOURCE", help="pipeline folder, shipped name, hub id, or an autoencoder alone"
    )
    parser.add_argument("--taps", required=True, metavar="A,B", help="layers to read, such as blocks.10,blocks.20; also decoded")
    parser.add_argument("--height", type=int, required=True, help="of the photos, in pixels")
    parser.add_argument("--width", type=int, required=True, help="of the photos, in pixels")
    parser.add_argument("--num-frames", type=int, help="length of the clips; not needed for an autoencoder alone")
    parser.add_argument("--batch-size", type=int, default=1, help="photos in a step (default: 1)")


def run(options: argparse.Namespace) -> int:
    """Print the plan; 0, also where nothing fits."""
    from anti_i2v.surrogates.autoencoders.source import find_autoencoder
    from anti_i2v.surrogates.memory.table import memory_table

    num_frames = options.num_frames
    if num_frames is None:
        if find_autoencoder(options.surrogate) is None:
            raise UsageError(f"{options.surrogate} makes clips; say how long with --num-frames")
        num_frames = 1
    sizes = (options.height, options.width, num_frames, options.batch_size)
    print(*memory_table(options.surrogate, options.taps.split(","), *sizes), sep="\n")
    return 0
