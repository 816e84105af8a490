"""A plot over depth, drawn with Pillow: no plotting library is needed to protect photos, so none is a dependency."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from PIL import Image, ImageDraw, ImageFont

from anti_i2v.probing.study import Row

PANELS = {
    "subject": "subject against background (R^2)",
    "person": "one person from another (ICC)",
    "coherence": "coherence of neighbours",
    "top3": "variance along 3 components",
    "attack": "gain of a 2/255 attack on the layer",
    "noise": "gain of 2/255 noise",
    "answer": "change of the answer by that attack; dashed: by noise",
    "score": "score that the layers are chosen by",
}
"""Measure → title of its panel."""
INK = ((214, 39, 40), (31, 119, 180), (44, 160, 44), (148, 103, 189), (255, 127, 14), (23, 190, 207))
"""A colour a step."""
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 460, 210, 48, 24, 34

Point = tuple[float, float]


def plot(rows: Sequence[Row], scores: Mapping[str, float], chosen: Sequence[str]) -> Image.Image:
    """Every measure over the layers, a colour a step; solid lines are later frames, dashed ones latent frame 0.

    Args:
        rows: Of a study.
        scores: Layer → score of the choice.
        chosen: Layers to shade.
    """
    layers, steps = list(scores), sorted({row.step for row in rows})
    columns = 2
    picture = Image.new("RGB", (columns * WIDTH, 22 + HEIGHT * math.ceil(len(PANELS) / columns)), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(11)
    x = 8
    for step, ink in zip(steps, _inks(len(steps)), strict=True):
        words = f"step {step}, noise {next(row.sigma for row in rows if row.step == step):.2f}"
        draw.text((x, 5), words, ink, font)
        x += round(font.getlength(words)) + 16
    draw.text((x, 5), "solid: later latent frames; dashed: latent frame 0; shaded: chosen", "black", font)
    for number, (name, title) in enumerate(PANELS.items()):
        lines = _lines(name, rows, scores, layers, steps)
        corner = ((number % columns) * WIDTH, 22 + (number // columns) * HEIGHT)
        _panel(draw, corner, title, lines, layers, [layers.index(layer) for layer in chosen], font)
    return picture


def _inks(count: int) -> list[tuple[int, int, int]]:
    return [INK[i % len(INK)] for i in range(count)]


Line = tuple[tuple[int, int, int], bool, list[float]]
"""Colour, whether dashed, a value a layer."""


def _lines(name: str, rows: Sequence[Row], scores: Mapping[str, float], layers: Sequence[str], steps: Sequence[int]) -> list[Line]:
    if name == "score":
        return [((0, 0, 0), False, [scores[layer] for layer in layers])]
    dashed, solid = ("noise_answer", "attack_answer") if name == "answer" else (f"{name}_first", f"{name}_later")
    lines = []
    for step, ink in zip(steps, _inks(len(steps)), strict=True):
        own = {row.layer: row.figures for row in rows if row.step == step}
        lines += [(ink, column == dashed, [own[layer].get(column, math.nan) for layer in layers]) for column in (dashed, solid)]
    return lines


def _panel(
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    title: str,
    lines: Sequence[Line],
    layers: Sequence[str],
    chosen: Sequence[int],
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
) -> None:
    left, right = corner[0] + LEFT, corner[0] + WIDTH - 12
    top, bottom = corner[1] + TOP, corner[1] + HEIGHT - BOTTOM
    draw.text((left, corner[1] + 6), title, "black", font)
    values = [value for _, _, line in lines for value in line if math.isfinite(value)]
    if not values:
        draw.text((left, (top + bottom) // 2), "not known for these photos", "grey", font)
        return
    low, high = min(0.0, *values), max(values)
    high = high if high > low else low + 1
    pitch = (right - left) / max(len(layers), 2)

    def place(i: int, value: float) -> Point:
        return left + (i + 0.5) * pitch, bottom - (value - low) / (high - low) * (bottom - top)

    for i in chosen:
        draw.rectangle([left + i * pitch, top, left + (i + 1) * pitch, bottom], (238, 238, 226))
    draw.line([(left, top), (left, bottom), (right, bottom)], "black")
    for value in (low, (low + high) / 2, high):
        draw.text((left - 4, place(0, value)[1]), f"{value:.3g}", "black", font, "rm")
    every = math.ceil(len(layers) / 14)
    for i in range(0, len(layers), every):
        draw.text((place(i, low)[0], bottom + 4), _short(layers[i]), "black", font, "ma")
    for ink, dashed, line in lines:
        points = [place(i, value) for i, value in enumerate(line) if math.isfinite(value)]
        for one, other in pairwise(points):
            _stroke(draw, one, other, ink, dashed)


def _short(layer: str) -> str:
    """`blocks.11` → `11`, `up_blocks.0` → `up 0`, `mid_block` → `mid`."""
    name, _, number = layer.rpartition(".")
    kind = (name or number).split("_")[0]
    return number if kind in ("blocks", "transformer", "visual") else kind + f" {number}" * bool(name)


def _stroke(draw: ImageDraw.ImageDraw, one: Point, other: Point, ink: tuple[int, int, int], dashed: bool) -> None:
    if not dashed:
        draw.line([one, other], ink, 2)
        return
    pieces = max(1, round(math.dist(one, other) / 6))
    for i in range(0, pieces, 2):
        ends = [tuple(a + (b - a) * min(1.0, share / pieces) for a, b in zip(one, other, strict=True)) for share in (i, i + 1)]
        draw.line([(ends[0][0], ends[0][1]), (ends[1][0], ends[1][1])], ink, 1)
