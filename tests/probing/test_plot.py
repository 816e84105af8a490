"""The plot over depth."""

from __future__ import annotations

import numpy as np
from PIL import Image

from anti_i2v.probing.plot import PANELS, plot
from anti_i2v.probing.study import Row

SHADE, BLUE, ORANGE = (238, 238, 226), (31, 119, 180), (255, 127, 14)


def share(picture: Image.Image, colour: tuple[int, int, int]) -> float:
    """Of the pixels that have a colour, but for what 64 colours for the whole picture change."""
    return float((np.abs(np.asarray(picture.convert("RGB")).astype(int) - colour).max(2) < 20).mean())


def test_chosen_layers_are_shaded_and_every_step_has_its_colour() -> None:
    layers = [f"blocks.{i}" for i in range(4)]
    figures = {f"{name}_{part}": 0.5 for name in PANELS for part in ("first", "later")}
    rows = [Row(layer, step, 1.0, {**figures, "subject_later": step / 5}) for layer in layers for step in (0, 5)]
    plain, shaded = (plot(rows, dict.fromkeys(layers, 1.0), chosen) for chosen in ([], layers[2:]))
    assert share(shaded, SHADE) - share(plain, SHADE) > 0.2
    assert share(plain, BLUE) > 0
    assert share(plain, ORANGE) > 0


def test_what_is_not_known_leaves_an_empty_panel() -> None:
    assert plot([Row("mid_block", 0, 1.0, {})], {"mid_block": 0.0}, ["mid_block"]).width > 500
