"""The pictures at the top of the README: a photo before and after `anti-i2v protect`, and clips of a few people.

    python -m benchmarks.front_page        # writes docs/front_page.jpg and docs/front_page.gif

The photo is scikit-image's astronaut (Eileen Collins, NASA, public domain). What is shown as protected is the file as it was read
again from disk. The clips are rows of docs/evidence/evidence.gif: the first of its strongest, median and weakest effects.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageSequence
from skimage import data

from anti_i2v.__main__ import main as anti_i2v
from anti_i2v.errors import UsageError

DOCS = Path(__file__).resolve().parent.parent / "docs"
GAIN, GAP, HEADING, SIDE = 10, 8, 34, 400
PEOPLE, TOP, ROW = (0, 3, 5), 16, 130
"""Rows of the evidence's clips that are shown; height in pixels of its headings, and of a row."""


def protect(photo: Image.Image) -> Image.Image:
    """The protected photo, by the command line, from file to file."""
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "photo.png", Path(folder) / "protected"
        photo.save(source)
        status = anti_i2v(["protect", str(source), "--out", str(out), "--key", "none", "--quiet"])
        if status:
            raise SystemExit(status)
        with Image.open(out / "photo.png") as file:
            return file.convert("RGB")


def picture() -> Image.Image:
    """Before, after and the difference around grey, side by side under their headings."""
    photo = Image.fromarray(data.astronaut())
    protected = protect(photo)
    difference = np.asarray(protected, np.int16) - np.asarray(photo, np.int16)
    residual = Image.fromarray(np.clip(128 + GAIN * difference, 0, 255).astype(np.uint8))
    panels = {"before": photo, "after": protected, f"difference, {GAIN} times": residual}
    whole = Image.new("RGB", (3 * SIDE + 2 * GAP, HEADING + SIDE), "white")
    pen, font = ImageDraw.Draw(whole), ImageFont.load_default(22)
    for number, (heading, panel) in enumerate(panels.items()):
        left = number * (SIDE + GAP)
        pen.text((left + SIDE / 2, HEADING / 2), heading, "black", font, anchor="mm")
        whole.paste(panel.resize((SIDE, SIDE), Image.Resampling.LANCZOS), (left, HEADING))
    return whole


def clips(whole: Image.Image) -> tuple[list[Image.Image], list[int]]:
    """The frames of an animated picture, with its headings and the rows of `PEOPLE` only, and how long each is shown in ms."""
    frames, durations = [], []
    for frame in ImageSequence.Iterator(whole):
        full = frame.convert("RGB")
        few = Image.new("RGB", (full.width, TOP + ROW * len(PEOPLE) - 2), "white")
        few.paste(full.crop((0, 0, full.width, TOP)), (0, 0))
        for place, row in enumerate(PEOPLE):
            few.paste(full.crop((0, TOP + ROW * row, full.width, TOP + ROW * row + ROW - 2)), (0, TOP + ROW * place))
        frames.append(few)
        durations.append(frame.info["duration"])
    return frames, durations


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=DOCS, help="folder")
    options = parser.parse_args(arguments)
    # JPEG has a tenth of the size of PNG in the repository, and at this quality nothing of it can be seen.
    picture().save(options.out / "front_page.jpg", quality=95, subsampling=0)
    film = DOCS / "evidence" / "evidence.gif"
    if not film.is_file():
        raise UsageError(f"no {film}; benchmarks/evidence.py writes it, and it is no part of the repository")
    with Image.open(film) as whole:
        (first, *rest), durations = clips(whole)
        first.save(options.out / "front_page.gif", save_all=True, append_images=rest, duration=durations, loop=0)


if __name__ == "__main__":
    main()
