"""`anti-i2v layers`: which layers of a video model carry subject and person; a table, pictures, and a choice for training."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from anti_i2v.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from anti_i2v.portraits.probing import PortraitBatches
    from anti_i2v.probing import Choice, Study
    from anti_i2v.probing.photos import FolderPhotos
    from anti_i2v.surrogates import Surrogate

HELP = "find the layers of a video model that are worth striking"
DESCRIPTION = """Run photos through a video model and score every block of its denoiser: how distinctly it separates subject
from background and one person from another, how far a small change of the photo moves it, and what the model then
answers. Writes layers.csv, layers.png, pca.png and taps.yaml, which a training with `taps: auto` reads. Without
--photos people are rendered, and it is known who is where; of photos in a folder it is not, and the choice then rests on
how a layer's features hang together."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `layers`."""
    parser.add_argument("--surrogate", required=True, metavar="SOURCE", help="pipeline folder, shipped name, or hub id")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder of the results; made if need be")
    parser.add_argument("--photos", type=Path, metavar="FOLDER", help="photos to use instead of rendered people; searched to the bottom")
    parser.add_argument("--prompt", default="a person talks to the camera", help="what is asked of people in --photos")
    parser.add_argument("--people", type=int, default=32, help="rendered people (default: 32)")
    parser.add_argument("--scenes", type=int, default=4, help="photos of each rendered person (default: 4)")
    parser.add_argument("--taps", metavar="A,B", help="layers to score, in the order of computation (default: every block)")
    parser.add_argument("--count", type=int, default=3, help="layers to choose (default: 3)")
    parser.add_argument("--steps", metavar="I,J", help="steps of a schedule of 20, 0 the noisiest (default: about 1, 2/3, 1/3 of noise)")
    parser.add_argument(
        "--attacked", type=int, default=8, help="photos on which small changes are tried, the dearest part; 0 for none (default: 8)"
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
    from tqdm import tqdm

    from anti_i2v.portraits.probing import PortraitBatches
    from anti_i2v.probing import choose, study
    from anti_i2v.probing.photos import FolderPhotos, make_folder
    from anti_i2v.probing.plot import check_matplotlib
    from anti_i2v.probing.study import steps_near

    check_matplotlib()
    size = (options.height, options.width)
    for name in ("height", "width", "num_frames", "count"):
        if getattr(options, name) < 1:
            raise UsageError(f"--{name.replace('_', '-')} is {getattr(options, name)}; give at least 1")
    if options.attacked < 0:
        raise UsageError(f"--attacked is {options.attacked}; give 0 for none, or a number of photos")
    photos = (
        PortraitBatches(options.people, options.scenes, *size)
        if options.photos is None
        else FolderPhotos(options.photos, options.prompt, *size)
    )
    surrogate = _load(options, photos)
    steps = steps_near(surrogate.sigmas) if options.steps is None else _numbers(options.steps)
    if not options.count < len(surrogate.taps):
        raise UsageError(f"--count {options.count} of {len(surrogate.taps)} layers; choose fewer, because one is left as the shallow one")
    make_folder(options.out)
    with tqdm(total=len(steps) * (photos.number + min(options.attacked, len(photos))), unit="photo", disable=options.quiet) as bar:
        result = study(surrogate, photos, steps, options.seed, options.attacked, advance=bar.update)
    choice = choose(result.rows, options.count)
    for line in _write(options, surrogate, photos, result, choice):
        print(line)
    return 1 if photos.report() else 0


def _numbers(words: str) -> list[int]:
    try:
        return sorted({int(word) for word in words.split(",")})
    except ValueError:
        raise UsageError(f"--steps {words!r} are no numbers; give such as 0,7,14") from None


def _load(options: argparse.Namespace, photos: PortraitBatches | FolderPhotos) -> Surrogate:
    import torch

    from anti_i2v.probing.blocks import every_block, kind_of
    from anti_i2v.surrogates import Surrogate
    from anti_i2v.surrogates.loading import read_index
    from anti_i2v.surrogates.registry import family_of

    if options.quiet:
        from diffusers.utils import logging as diffusers_logging
        from transformers.utils import logging as transformers_logging

        diffusers_logging.disable_progress_bar()
        transformers_logging.disable_progress_bar()
    family = family_of(options.surrogate, read_index(options.surrogate)[1])
    taps = options.taps.split(",") if options.taps else every_block(kind_of(options.surrogate)[1], family.block_lists)
    surrogate = Surrogate.from_pretrained(
        options.surrogate,
        taps,
        options.height,
        options.width,
        options.num_frames,
        prompts=photos.prompts,
        dtype=options.dtype,
        checkpointing=options.checkpointing,
    )
    surrogate.drop_what_animates()
    try:
        return surrogate.to(torch.device(options.device))
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device {options.device}: {str(error).splitlines()[0]}; give cpu, or a device that is here") from None


def _write(
    options: argparse.Namespace, surrogate: Surrogate, photos: PortraitBatches | FolderPhotos, result: Study, choice: Choice
) -> list[str]:
    """Write the four files, each complete or not at all; what to print."""
    from anti_i2v.evaluation.pictures import label_sheet
    from anti_i2v.evaluation.report import write_texts
    from anti_i2v.imaging.tensors import save_photo
    from anti_i2v.probing.blocks import kind_of
    from anti_i2v.probing.choice import as_yaml
    from anti_i2v.probing.plot import plot
    from anti_i2v.probing.table import as_csv
    from anti_i2v.resources import commit

    steps = sorted({row.step for row in result.rows})
    facts: dict[str, object] = {
        "photos": f"{result.photos} {photos.words}",
        "size": f"{options.num_frames} frames of {options.height}x{options.width}",
        "steps": ", ".join(f"{step} (noise {surrogate.sigmas[step]:.2f})" for step in steps),
        "attacked": min(options.attacked, len(photos)),
        "seed": options.seed,
        "commit": commit() or "unknown",
    }
    kind, _ = kind_of(options.surrogate)
    texts = {"layers.csv": as_csv(result.rows, {"surrogate": str(kind), **facts}), "taps.yaml": as_yaml(choice, kind, facts)}
    grids, names, headings = _pca(result, choice, steps)
    pictures = {
        "layers.png": plot(result.rows, choice.scores, [choice.shallow, *choice.deep]),
        "pca.png": label_sheet(grids, names, headings, 56),
    }
    write_texts(options.out, texts)
    for name, picture in pictures.items():
        save_photo(picture, options.out / name, like=picture)
    best = ", ".join(f"{layer} ({choice.scores[layer]:.3g})" for layer in choice.deep)
    return [
        f"deep: {best}; shallow: {choice.shallow} ({choice.scores[choice.shallow]:.3g})",
        f"by {choice.rule}",
        *(f"wrote {options.out / name}" for name in (*texts, *pictures)),
    ]


def _pca(result: Study, choice: Choice, steps: list[int]) -> tuple[list[list[Tensor]], list[str], list[str]]:
    """Rows, names and headings of pca.png: a layer a row; for each step the photos' latent frame 0, then their last one."""
    frames = sorted({0, next(iter(result.pictures.values())).shape[2] - 1})
    people = range(len(result.shown))
    grids = [[photo for _ in steps for _ in frames for photo in result.shown]]
    headings = [f"step {step}, frame {frame}" if person == 0 else "" for step in steps for frame in frames for person in people]
    for layer in choice.scores:
        grids.append([result.pictures[layer, step][person, :, frame] for step in steps for frame in frames for person in people])
    marks = {choice.shallow: "\nshallow", **dict.fromkeys(choice.deep, "\ndeep")}
    return grids, ["photo", *(layer + marks.get(layer, "") for layer in choice.scores)], headings
