"""What holds for every space: in NumPy it gives the residual that it gives in torch, and new ones need no list of their own here."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from anti_i2v.spaces import SPACES
from anti_i2v.spaces.base import bicubic


def pixels() -> np.ndarray:
    """Random colours, black, white, dark ones and greys: (60, 44, 3) bytes."""
    rng = np.random.default_rng(1)
    found = rng.integers(0, 256, (60, 44, 3), dtype=np.uint8)
    found[:8], found[8:16], found[16:24] = 0, 255, rng.integers(0, 13, (8, 44, 3))
    found[24:32] = found[24:32, :, :1]
    return found


def parameters(name: str, strength: float) -> np.ndarray:
    return (strength * np.random.default_rng(2).standard_normal((SPACES[name].channels, 6, 9))).astype(np.float32)


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("strength", [0, 1, 8])
def test_bytes_get_the_residual_that_tensors_get_in_strips_of_any_height(name: str, strength: float) -> None:
    """At 8 the a*/b* field reaches 150 units: far out of RGB, below the bends of every curve."""
    space, photo, values = SPACES[name], pixels(), parameters(name, strength)
    image, epsilon = torch.from_numpy(photo).permute(2, 0, 1)[None] / 255, torch.tensor([8.0])
    expected = space.residual(image, torch.from_numpy(values)[None], epsilon)[0].numpy()
    field = space.field(values, 60, 44)
    strips = [space.apply(photo[top : top + 13], field.rows(top, top + 13), np.float32(8)) for top in range(0, 60, 13)]
    np.testing.assert_allclose(np.concatenate(strips, axis=1), expected, rtol=0, atol=3e-5 * (1 + strength))  # 0.008 steps
    if strength == 0:
        assert np.abs(expected).max() < 3e-5


@pytest.mark.parametrize("name", SPACES)
def test_a_residual_is_the_field_applied_and_twice_the_parameters_are_twice_the_field(name: str) -> None:
    """So that fields of several windows can be blended before one residual is made of them."""
    space, values = SPACES[name], torch.from_numpy(parameters(name, 1))[None]
    image, epsilon = torch.from_numpy(pixels()).permute(2, 0, 1)[None] / 255, torch.tensor([4.0])
    field = space.expand(values, 60, 44)
    assert field.shape == (1, space.channels, 60, 44)
    torch.testing.assert_close(space.expand(2 * values, 60, 44), 2 * field)
    torch.testing.assert_close(space.residual(image, values, epsilon), space.from_field(image, field, epsilon))


@pytest.mark.parametrize(("count", "size"), [(1, 64), (5, 64), (64, 64), (65, 64), (3001, 64), (32, 504), (32, 7), (16, 1), (8, 959)])
def test_bicubic_interpolation_is_that_of_torch(count: int, size: int) -> None:
    eye = torch.eye(count)[None, None]
    expected = F.interpolate(eye, (size, count), mode="bicubic", antialias=True, align_corners=False)[0, 0]
    np.testing.assert_allclose(bicubic(size, count), expected.numpy(), rtol=0, atol=2e-5)  # torch has them in single precision
