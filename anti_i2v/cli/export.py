"""`anti-i2v export`: a training checkpoint becomes a generator folder, which is what users get."""

from __future__ import annotations

import argparse
from pathlib import Path

from anti_i2v.errors import UsageError

HELP = "turn a training checkpoint into a generator folder"
DESCRIPTION = """Write config.json, model.safetensors, README.md (the card) and model.onnx from a
checkpoint of train.py. The moving average of the weights is taken where there is one."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `export`."""
    parser.add_argument("checkpoint", type=Path, metavar="CKPT", help="a .ckpt file of train.py fit")
    parser.add_argument("folder", type=Path, metavar="DIR", help="the generator folder to write")
    parser.add_argument("--config", type=Path, metavar="FILE", help="the run's config.yaml, quoted in the card")
    parser.add_argument("--overwrite", action="store_true", help="replace a folder that is there already")


def run(options: argparse.Namespace) -> int:
    """Export; 0, or a `UsageError` with nothing written."""
    folder: Path = options.folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())) and not options.overwrite:
        raise UsageError(f"{folder} is there already; choose another folder, or --overwrite it")
    from anti_i2v.generators.onnx import export_onnx
    from anti_i2v.training.release import export_checkpoint

    checkpoint = export_checkpoint(options.checkpoint, folder, options.config)
    print(f"wrote {folder} ({'moving average' if checkpoint.is_average else 'last step'} of the weights)")
    try:
        print(f"wrote {export_onnx(checkpoint.generator, folder)}, with which photos are protected without torch")
    except UsageError as error:
        print(f"no model.onnx, so photos are protected with torch: {error}")
    print(f"protect photos with it: anti-i2v protect PHOTO --out protected --generator {folder}")
    return 0
