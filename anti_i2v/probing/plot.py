"""A plot of the scores over the depth of a network. It needs matplotlib, which the extra `plot` brings."""

from __future__ import annotations

import importlib.util
import io
import math
from collections.abc import Mapping, Sequence

from PIL import Image

from anti_i2v.errors import UsageError
from anti_i2v.probing.study import Row

PANELS = {
    "subject": "subject against background (R²)",
    "person": "one person from another (ICC)",
    "coherence": "coherence of neighbours",
    "top3": "variance along 3 components",
    "attack": "gain of a 2/255 attack on the layer",
    "noise": "gain of 2/255 noise",
    "answer": "change of the answer by that attack; dashed: by noise",
    "score": "score that the layers are chosen by",
}
"""Measure → title of its panel."""


def check_matplotlib() -> None:
    """Say before the work that a plot cannot be drawn.

    Raises:
        UsageError: matplotlib is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError('the plot needs matplotlib, which is not installed; pip install "anti-i2v[plot]"')


def plot(rows: Sequence[Row], scores: Mapping[str, float], choice: Sequence[str]) -> Image.Image:
    """Every measure over the layers, a colour a step; solid lines are later frames, dashed ones latent frame 0.

    Args:
        rows: Of a study.
        scores: Layer → score of the choice.
        choice: Layers to shade.

    Returns:
        A picture of 64 colours, a quarter of the bytes.
    """
    from matplotlib.figure import Figure

    layers, steps = list(scores), {row.step: row.sigma for row in rows}
    figure = Figure(figsize=(11, 2.6 * math.ceil(len(PANELS) / 2)), layout="constrained")
    for axes, (name, title) in zip(figure.subplots(math.ceil(len(PANELS) / 2), 2).flat, PANELS.items(), strict=True):
        dashed, solid = ("noise_answer", "attack_answer") if name == "answer" else (f"{name}_first", f"{name}_later")
        lines = [("black", "-", 1.8, [scores[layer] for layer in layers])] if name == "score" else []
        for i, step in enumerate(sorted(steps) if name != "score" else ()):
            figures = {row.layer: row.figures for row in rows if row.step == step}
            for column, style, width in ((dashed, "--", 1.0), (solid, "-", 1.8)):
                lines.append((f"C{i}", style, width, [figures[layer].get(column, math.nan) for layer in layers]))
        for colour, style, width, values in lines:
            axes.plot(range(len(layers)), values, color=colour, linestyle=style, linewidth=width)
        axes.set_title(title, fontsize=11)
        if all(math.isnan(value) for *_, values in lines for value in values):
            axes.text(0.5, 0.5, "not known for these photos", transform=axes.transAxes, ha="center", color="grey")
        else:
            axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        for layer in choice:
            axes.axvspan(layers.index(layer) - 0.5, layers.index(layer) + 0.5, color="#eeeee2", zorder=0)
        axes.set_xlim(-0.5, len(layers) - 0.5)
        every = math.ceil(len(layers) / 14)
        axes.set_xticks(range(0, len(layers), every), [_short(layer) for layer in layers[::every]])
        axes.spines[["top", "right"]].set_visible(False)
    legend = [f"step {step}, noise {steps[step]:.2f}" for step in sorted(steps)]
    handles = figure.axes[0].get_lines()[1::2]
    words = "solid: later latent frames; dashed: latent frame 0; shaded: chosen"
    figure.legend(handles, legend, loc="outside upper center", ncols=len(legend), title=words, frameon=False)
    file = io.BytesIO()
    figure.savefig(file, dpi=100)
    return Image.open(file).convert("RGB").quantize(64)


def _short(layer: str) -> str:
    """`blocks.11` → `11`, `up_blocks.0` → `up 0`, `mid_block` → `mid`."""
    name, _, number = layer.rpartition(".")
    kind = (name or number).split("_")[0]
    return number if kind in ("blocks", "transformer", "visual") else kind + f" {number}" * bool(name)
