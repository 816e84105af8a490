"""Colour differences without torch are those of scikit-image and of `metrics`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage import color

from anti_i2v.imaging import cielab, metrics


@pytest.mark.parametrize("apart", [0, 1, 8, 255])
def test_ciede2000_is_that_of_scikit_image_and_of_the_metric(apart: int) -> None:
    rng = np.random.default_rng(apart)
    levels = rng.integers(0, 256, (3, 80, 90))
    levels[:, :20] = levels[:1, :20]  # greys, which have no hue
    a, b = (x.astype(np.float32) / 255 for x in (levels, (levels + rng.integers(-apart, apart + 1, levels.shape)).clip(0, 255)))
    found = cielab.delta_e2000(cielab.lab(a), cielab.lab(b))
    assert found.dtype == np.float32
    other = color.deltaE_ciede2000(*(color.rgb2lab(np.moveaxis(x, 0, 2).astype(float)) for x in (a, b)))
    np.testing.assert_allclose(found, other, rtol=0, atol=5e-3)  # single precision against double; a difference of 1 is just seen
    expected = float(metrics.ciede2000(*(torch.from_numpy(x)[None] for x in (a, b))))
    assert cielab.ciede2000(a, b) == pytest.approx(expected, abs=1e-5)
    if apart == 0:
        assert not found.any()


def test_pairs_of_sharma_wu_and_dalal_have_their_published_differences() -> None:
    """Rows 1, 4, 8, 13, 19, 25 and 34 of their table 1: hue at a grey, hues across 0°, and large and tiny differences."""
    rows = [
        (50.0, 2.6772, -79.7751, 50.0, 0.0, -82.7485, 2.0425),
        (50.0, -1.3802, -84.2814, 50.0, 0.0, -82.7485, 1.0000),
        (50.0, -1.0, 2.0, 50.0, 0.0, 0.0, 2.3669),
        (50.0, -0.001, 2.49, 50.0, 0.0009, -2.49, 4.8045),
        (50.0, 2.5, 0.0, 58.0, 24.0, 15.0, 19.4535),
        (60.2574, -34.0099, 36.2677, 60.4626, -34.1751, 39.4387, 1.2644),
        (2.0776, 0.0795, -1.135, 0.9033, -0.0636, -0.5514, 0.9082),
    ]
    table = np.array(rows, np.float32).T
    np.testing.assert_allclose(cielab.delta_e2000(table[:3], table[3:6]), table[6], atol=2e-4)


def test_white_grey_and_black_have_their_lightness_and_no_colour() -> None:
    lightness, a, b = cielab.lab(np.array([[1, 0.5, 0]] * 3, np.float32))
    np.testing.assert_allclose(lightness, [100, 53.389, 0], atol=1e-3)
    assert max(np.abs(a).max(), np.abs(b).max()) < 0.01
