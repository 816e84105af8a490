"""The parts of protecting in NumPy against torch's and kornia's: resizing, fields, spaces and the budget."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from anti_i2v import budget
from anti_i2v.generators.base import make_spaces
from anti_i2v.imaging.tensors import resize
from anti_i2v.inference import resizing
from anti_i2v.inference.budget import whole_steps
from anti_i2v.inference.resizing import shrunk, weights
from anti_i2v.inference.spaces import cosines, fields, residual
from anti_i2v.spaces.frequency import cosine_basis


@pytest.mark.parametrize(("count", "size"), [(1, 64), (5, 64), (64, 64), (65, 64), (3001, 64), (32, 504), (32, 7), (16, 1), (8, 959)])
def test_weights_are_those_of_torch(count: int, size: int) -> None:
    eye = torch.eye(count)[None, None]
    expected = F.interpolate(eye, (size, count), mode="bicubic", antialias=True, align_corners=False)[0, 0]
    np.testing.assert_allclose(weights(count, size), expected.numpy(), rtol=0, atol=2e-5)  # torch has them in single precision


@pytest.mark.parametrize("size", [(504, 480), (1, 1), (20, 30), (32, 32), (500, 3)])
@pytest.mark.parametrize("strip", [100, 2**18])
def test_a_photo_is_shrunk_as_torch_does(size: tuple[int, int], strip: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resizing, "STRIP", strip)
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    expected = resize(torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255, 32, 32)[0]
    np.testing.assert_allclose(shrunk(pixels, 32), expected.numpy(), rtol=0, atol=1e-5)  # sums of up to 64 products


def test_cosines_are_the_basis_of_the_frequency_space() -> None:
    for size, count in ((1, 4), (7, 4), (4, 7), (504, 32)):
        np.testing.assert_allclose(cosines(size, count), cosine_basis(size, count).numpy(), rtol=0, atol=2e-7)  # two libraries' cosines


@pytest.mark.parametrize("name", ["rgb", "lab", "frequency"])
@pytest.mark.parametrize("strength", [0, 1, 8])
def test_a_space_moves_every_colour_as_torch_does(name: str, strength: float) -> None:
    """At 8 the a*/b* field reaches 150 units: far out of RGB, below the bends of every curve."""
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (60, 44, 3), dtype=np.uint8)
    pixels[:8], pixels[8:16], pixels[16:24] = 0, 255, rng.integers(0, 13, (8, 44, 3))
    pixels[24:32] = pixels[24:32, :, :1]
    space = make_spaces()[name]
    parameters = strength * rng.standard_normal((space.channels, 6, 9)).astype(np.float32)
    image, epsilon = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255, torch.tensor([8.0])
    expected = space.residual(image, torch.from_numpy(parameters)[None], epsilon)[0].numpy()
    drawn = fields({name: parameters}, 60, 44)
    found = np.concatenate([residual(pixels[top : top + 13], drawn, np.float32(8), top) for top in range(0, 60, 13)], axis=1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=3e-5 * (1 + strength))  # 0.008 steps
    if strength == 0:
        assert np.abs(found).max() < 3e-5


@pytest.mark.parametrize("epsilon", [0, 1e-7, 0.5, 1.9999999, 8, 31.7, 32])
def test_the_budget_is_that_of_torch(epsilon: float) -> None:
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 256, (3, 50, 64), dtype=np.uint8)
    wanted = (rng.standard_normal(pixels.shape) * rng.choice([0.01, 0.1, 3], pixels.shape)).astype(np.float32)
    expected = budget.whole_steps(torch.from_numpy(pixels)[None], torch.from_numpy(wanted.copy())[None], torch.tensor([epsilon]))[0].numpy()
    found = whole_steps(pixels, wanted, np.float32(epsilon))
    assert found.dtype == np.int8
    assert (found != expected).mean() < 1e-3
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert np.abs(found).max() <= epsilon
    moved = pixels + found.astype(int)
    assert 0 <= moved.min() <= moved.max() <= 255
