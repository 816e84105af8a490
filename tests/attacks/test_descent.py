"""Steps and projections of the spaces, by the independent colour conversion of scikit-image and the DCT of scipy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.fft import dctn
from skimage import color
from torch import Tensor

from anti_i2v.attacks.descent import SPACES, SpaceName, descent_in
from anti_i2v.imaging.metrics import rms255

SIZE = 24


@pytest.fixture(scope="module")
def photo() -> Tensor:
    """Smooth and colourful, without extremes."""
    small = torch.rand(2, 3, 5, 4, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.25
    return F.interpolate(small, (SIZE, SIZE), mode="bicubic")


def lab(image: Tensor) -> np.ndarray:
    return np.asarray(color.rgb2lab(image.permute(0, 2, 3, 1).double().numpy()))


def slope(photo: Tensor) -> Tensor:
    return torch.randn(photo.shape, generator=torch.Generator().manual_seed(1))


def high(residual: Tensor, cutoff: int) -> np.ndarray:
    """The coefficients above the cut-off."""
    spectrum = dctn(residual.double().numpy(), axes=(2, 3), norm="ortho")
    spectrum[:, :, :cutoff, :cutoff] = 0
    return np.asarray(spectrum)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("number", [0, 1])
def test_a_step_has_the_rms_of_its_length_and_goes_down(photo: Tensor, space: SpaceName, number: int) -> None:
    descent, gradient = descent_in(space, SIZE, SIZE, 0.25), slope(photo)
    change = descent.step(photo, gradient, 2.0, number)
    assert torch.allclose(rms255(change), torch.tensor(2.0), rtol=0.25)
    assert torch.all((change * gradient).flatten(1).sum(1) < 0)
    start = descent.start(photo, 6.0, torch.Generator().manual_seed(2))
    assert torch.allclose(rms255(start), torch.tensor(6 / 3**0.5), rtol=0.25)


def test_rgb_follows_the_sign_and_keeps_everything(photo: Tensor) -> None:
    descent = descent_in("rgb", SIZE, SIZE, 0.25)
    assert torch.equal(descent.step(photo, slope(photo), 2.0, 0), -2 / 255 * slope(photo).sign())
    assert torch.equal(descent.project(photo, slope(photo)), slope(photo))


def test_lab_moves_a_and_b_and_takes_from_a_cut_what_changed_lightness(photo: Tensor) -> None:
    descent = descent_in("lab", SIZE, SIZE, 0.25)
    change = descent.step(photo, slope(photo), 4.0, 0)
    before, after = lab(photo), lab(photo + change)
    np.testing.assert_allclose(after[..., 0], before[..., 0], atol=0.02)
    np.testing.assert_allclose(np.abs(after - before)[..., 1:], 4 * 0.6, atol=0.02)
    cut = change.clamp(-3 / 255, 3 / 255)
    assert np.abs(lab(photo + cut) - before)[..., 0].max() > 0.3
    projection = lab(photo + descent.project(photo, cut))
    np.testing.assert_allclose(projection[..., 0], before[..., 0], atol=0.02)
    np.testing.assert_allclose(projection[..., 1:], lab(photo + cut)[..., 1:], atol=0.02)


def test_frequency_moves_low_coefficients_and_takes_the_rest_of_a_cut(photo: Tensor) -> None:
    descent = descent_in("frequency", SIZE, SIZE, 0.25)  # 6 of 24
    change = 255 * descent.step(photo, slope(photo), 2.0, 1)
    coefficients = dctn(change.double().numpy(), axes=(2, 3), norm="ortho")[:, :, :6, :6]
    np.testing.assert_allclose(np.abs(coefficients), 2.0 * SIZE / 6, atol=1e-3)  # all of one size, so that the RMS is 2
    assert np.abs(high(change, 6)).max() < 1e-3
    cut = change.clamp(-3, 3)
    assert np.abs(high(cut, 6)).max() > 1
    assert np.abs(high(descent.project(photo, cut), 6)).max() < 1e-3


def test_dual_takes_turns_and_leaves_lightness_alone_above_the_cutoff(photo: Tensor) -> None:
    descents = {space: descent_in(space, SIZE, SIZE, 0.25) for space in SPACES}
    for number, space in enumerate(("lab", "frequency", "lab")):
        assert torch.equal(descents["dual"].step(photo, slope(photo), 2.0, number), descents[space].step(photo, slope(photo), 2.0, 0))
    residual = slope(photo) / 100
    projection = descents["dual"].project(photo, residual)
    low = descents["frequency"].project(photo, residual)
    np.testing.assert_allclose(lab(photo + projection)[..., 0], lab(photo + low)[..., 0], atol=0.02)
    np.testing.assert_allclose(lab(photo + projection)[..., 1:], lab(photo + residual)[..., 1:], atol=0.05)
    torch.testing.assert_close(descents["dual"].project(photo, low), low, atol=1e-5, rtol=0)  # either part alone stays as it is
    tint = descents["lab"].project(photo, residual)
    assert (descents["dual"].project(photo, tint) - tint).abs().max() * 255 < 0.6  # what a tint has of lightness in RGB's low frequencies
