"""`anti-i2v layers`: which layers of a video model carry subject and person; a table, pictures, and a choice for training."""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from anti_i2v.errors import UsageError

if TYPE_CHECKING:
    from anti_i2v.probing.photos import PhotoBatches

HELP = "find the layers of a video model that are worth attacking"
DESCRIPTION = """Run photos through a video model and score every block of its denoiser: how distinctly it separates subject
from background and one person from another, how far a small change of the photo moves it, and how far the
model's prediction moves with it. Writes layers.csv, layers.png, pca.png and taps.yaml, which a training with `taps: auto` reads. Without
--photos people are rendered, and it is known who is where; of photos in a folder it is not, and the choice then rests on
how a layer's features hang together."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `layers`."""
    parser.add_argument("--surrogate", required=True, metavar="SOURCE", help="pipeline folder, shipped name, or hub id")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder of the results, created if needed")
    parser.add_argument("--photos", type=Path, metavar="FOLDER", help="photos to use instead of rendered people, with subfolders")
    parser.add_argument("--prompt", default="a person talks to the camera", help="what is asked of people in --photos")
    parser.add_argument("--people", type=int, default=32, help="rendered people (default: 32)")
    parser.add_argument("--scenes", type=int, default=4, help="photos of each rendered person (default: 4)")
    parser.add_argument("--taps", metavar="A,B", help="layers to score, in the order of computation (default: every block)")
    parser.add_argument("--count", type=int, default=3, help="layers to choose (default: 3)")
    parser.add_argument("--steps", metavar="I,J", help="steps of a schedule of 20, 0 the noisiest (default: about 1, 2/3, 1/3 of noise)")
    parser.add_argument(
        "--attacked", type=int, default=8, help="photos on which small changes are tried, the slowest part; 0 for none (default: 8)"
    )
    parser.add_argument("--height", type=int, default=128, help="of the photos, in pixels (default: 128)")
    parser.add_argument("--width", type=int, default=128, help="(default: 128)")
    parser.add_argument("--num-frames", type=int, default=9, help="length of the clips (default: 9)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of the denoiser (default: float32)")
    parser.add_argument("--checkpointing", action="store_true", help="compute layers again for gradients: less memory, more time")
    parser.add_argument("--device", default="cpu", help="such as cuda (default: cpu)")
    parser.add_argument("--seed", type=int, default=0, help="of noise (default: 0)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def run(options: argparse.Namespace) -> int:
    """Study, choose, write; 1 if some photos could not be read."""
    from anti_i2v.probing.photos import FolderPhotos
    from anti_i2v.probing.run import StudyRequest, run_study

    options.taps = options.taps.split(",") if options.taps else None
    options.steps = None if options.steps is None else _numbers(options.steps)
    request = StudyRequest(**{field.name: getattr(options, field.name) for field in fields(StudyRequest)})
    if options.photos is None:
        from anti_i2v.portraits.rendered import RenderedPhotos

        photos: PhotoBatches = RenderedPhotos(options.people, options.scenes, options.height, options.width)
    else:
        photos = FolderPhotos(options.photos, options.prompt, options.height, options.width)
    print(*run_study(request, photos), sep="\n")
    for file, reason in photos.failures.items():
        print(f"failed: {reason if str(file) in reason else f'{file}: {reason}'}", file=sys.stderr)
    return 1 if photos.failures else 0


def _numbers(words: str) -> list[int]:
    try:
        return sorted({int(word) for word in words.split(",")})
    except ValueError:
        raise UsageError(f"--steps is {words!r}; give whole numbers such as 0,7,14") from None
