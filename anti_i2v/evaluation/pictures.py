"""Contact sheets and animations: rows of pictures beside the figures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from anti_i2v import atomic
from anti_i2v.errors import UsageError
from anti_i2v.imaging.tensors import to_pil

GAP = 2
"""White pixels between pictures."""


def sheet(rows: Sequence[Sequence[Tensor]], size: int) -> Tensor:
    """Lay pictures out in a grid.

    Args:
        rows: Pictures (3, H, W) in [0, 1] of any sizes; shorter rows end in white.
        size: Side of each cell in pixels; pictures are scaled to it.

    Returns:
        (3, height, width) in [0, 1].
    """
    columns, cell = max(len(row) for row in rows), size + GAP
    canvas = torch.ones(3, len(rows) * cell - GAP, columns * cell - GAP)
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            scaled = F.interpolate(picture[None].detach().float().cpu(), (size, size), mode="nearest")[0]
            canvas[:, y * cell : y * cell + size, x * cell : x * cell + size] = scaled.clamp(0, 1)
    return canvas


def save_sheet(picture: Tensor, path: Path) -> None:
    """Write a `sheet` (3, H, W) as a JPEG, a third of the bytes of a PNG of 256 colours, complete or not at all."""
    with atomic.write(path) as part:
        to_pil(picture).save(part, "JPEG", quality=75, optimize=True)


def residual_picture(image: Tensor, protected: Tensor, gain: float = 10.0) -> Tensor:
    """The residual times `gain` around mid-grey, so that both signs show: (…, 3, H, W) in [0, 1] → the same."""
    return (0.5 + gain * (protected - image)).clamp(0, 1)


def some_frames(clip: Tensor, count: int = 4) -> list[Tensor]:
    """Frames spread over a clip, first and last among them: (T, 3, H, W) → at most `count` of (3, H, W)."""
    steps = min(count, len(clip))
    return [clip[round(i)] for i in torch.linspace(0, len(clip) - 1, steps).tolist()]


def label_sheet(rows: Sequence[Sequence[Tensor]], names: Sequence[str], headings: Sequence[str], size: int) -> Image.Image:
    """A `sheet` with words: a name at the left of each row, a heading over each column.

    Args:
        rows: See `sheet`.
        names: One a row; line breaks are kept.
        headings: One a column; an empty one leaves its room to the heading before.
        size: Side of each cell in pixels.
    """
    grid = to_pil(sheet(rows, size))
    font = ImageFont.load_default(11)
    left = 8 + max(round(font.getlength(line)) for name in names for line in name.splitlines())
    picture = Image.new("RGB", (left + grid.width, 16 + grid.height), "white")
    picture.paste(grid, (left, 16))
    draw = ImageDraw.Draw(picture)
    for y, name in enumerate(names):
        draw.multiline_text((2, 16 + y * (size + GAP) + size // 2), name, "black", font, "lm")
    for x, heading in enumerate(headings):
        draw.text((left + x * (size + GAP), 2), heading, "black", font)
    return picture


def save_gif(films: Sequence[Sequence[Tensor]], names: Sequence[str], headings: Sequence[str], path: Path, limit: int = 1_500_000) -> None:
    """Write clips that play side by side, as large as the limit allows, complete or not at all.

    Args:
        films: Clips (T, 3, H, W) in [0, 1], rows of them; all of one length.
        names: See `label_sheet`.
        headings: See `label_sheet`.
        path: Where to.
        limit: Bytes that the file must stay below.

    Raises:
        UsageError: Not even cells of 32 pixels stay below the limit.
    """
    for size in (128, 96, 80, 64, 48, 32):
        steps = range(len(films[0][0]))
        frames = [label_sheet([[film[t] for film in row] for row in films], names, headings, size) for t in steps]
        palette = frames[0].quantize(128)  # one for all frames, without dithering: still parts then cost nothing
        pictures = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
        file = io.BytesIO()
        # The last frame stays longer, so that the eye finds the end of the loop.
        durations = [150] * (len(pictures) - 1) + [900]
        pictures[0].save(file, "GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0, optimize=True)
        if file.tell() < limit:
            with atomic.write(path) as part:
                part.write_bytes(file.getvalue())
            return
    raise UsageError(f"{len(films)} rows of clips do not fit {limit} bytes of {path.name}; show fewer")


def save_frames(films: Sequence[Sequence[Tensor]], names: Sequence[str], headings: Sequence[str], path: Path, size: int = 80) -> None:
    """Write the first, middle and last frame of clips side by side as a JPEG, complete or not at all; arguments as `save_gif`."""
    length = len(films[0][0])
    frames = sorted({0, length // 2, length - 1})
    cells = [[film[t] for film in row for t in frames] for row in films]
    words = [word for heading in headings for word in [heading, *[""] * (len(frames) - 1)]]
    with atomic.write(path) as part:
        label_sheet(cells, names, words, size).save(part, "JPEG", quality=85, optimize=True)


def examples(scores: Tensor) -> list[tuple[int, str]]:
    """Choose people to show: failures beside successes, not the best alone.

    Args:
        scores: (N,), higher is better; people whose score is not finite are left out.

    Returns:
        Index and words for the three highest, the two in the middle and the two lowest; no person twice.
    """
    order = [i for i in scores.argsort(descending=True).tolist() if bool(scores[i].isfinite())]
    middle = max(0, len(order) // 2 - 1)
    captions: dict[int, str] = {}
    for word, people in (("strongest", order[:3]), ("median", order[middle : middle + 2]), ("weakest", order[-2:])):
        for i in people:
            captions.setdefault(i, f"{word}\nperson {i}\n{float(scores[i]):.2f}")
    return list(captions.items())
