"""The frequency space against scipy's DCT and against the mathematics of averaging a cosine."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.fft import dctn, idct, idctn

from anti_i2v.spaces import FrequencySpace
from anti_i2v.spaces.frequency import cosine_basis, low_pass


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", [1, 8, 33, 504])
def test_the_basis_is_that_of_scipys_orthonormal_dct(size: int) -> None:
    np.testing.assert_allclose(cosine_basis(size, size), idct(np.eye(size), axis=0, norm="ortho"), atol=1e-6)
    np.testing.assert_array_equal(cosine_basis(size, size + 3)[:, size:], 0)


@pytest.mark.parametrize("cutoff", [4, 16, 64])
def test_expansion_at_cutoff_size_is_the_orthonormal_inverse_dct(cutoff: int) -> None:
    coefficients = noise(1, 3, cutoff, cutoff)
    image = torch.zeros(1, 3, cutoff, cutoff)
    residual = FrequencySpace().residual(image, coefficients, torch.tensor([8.0])) * 255 / 8
    np.testing.assert_allclose(residual.numpy(), idctn(coefficients.double().numpy(), axes=(2, 3), norm="ortho"), atol=2e-5)


def test_the_same_coefficients_draw_the_same_pattern_at_every_size() -> None:
    """Averaging 2 × 2 pixels of the expansion at 2K damps frequency u by cos(πu/4K), exactly, and changes nothing else."""
    cutoff, space, epsilon = 16, FrequencySpace(), torch.tensor([255.0])
    coefficients = noise(1, 3, cutoff, cutoff)
    large = space.residual(torch.zeros(1, 3, 2 * cutoff, 2 * cutoff), coefficients, epsilon)
    damping = torch.cos(math.pi * torch.arange(cutoff) / (4 * cutoff))
    small = space.residual(torch.zeros(1, 3, cutoff, cutoff), coefficients * damping[:, None] * damping, epsilon)
    torch.testing.assert_close(torch.nn.functional.avg_pool2d(large, 2), small, atol=1e-5, rtol=0)


def test_photos_smaller_than_the_cutoff_lose_the_high_frequencies_only() -> None:
    coefficients = torch.zeros(1, 3, 16, 16)
    coefficients[..., 0, 12] = 1.0
    assert not FrequencySpace().residual(torch.zeros(1, 3, 8, 8), coefficients, torch.tensor([8.0])).any()
    coefficients[..., 0, 0] = 16.0
    flat = FrequencySpace().residual(torch.zeros(1, 3, 8, 5), coefficients, torch.tensor([8.0]))
    torch.testing.assert_close(flat * 255, torch.full((1, 3, 8, 5), 8.0))


def test_autocast_changes_nothing_and_gradients_flow() -> None:
    space, coefficients = FrequencySpace(), noise(1, 3, 8, 8).requires_grad_()
    image, epsilon = torch.rand(1, 3, 24, 24), torch.tensor([8.0])
    plain = space.residual(image, coefficients, epsilon)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(space.residual(image, coefficients, epsilon), plain)
    plain.square().sum().backward()
    assert coefficients.grad is not None
    assert (coefficients.grad != 0).all()


@pytest.mark.parametrize(("rows", "columns"), [(6, 4), (20, 12), (40, 30)])
def test_low_pass_keeps_the_low_coefficients_and_no_others(rows: int, columns: int) -> None:
    x = noise(1, 3, 20, 12)
    kept = dctn(x.double().numpy(), axes=(2, 3), norm="ortho")
    kept[:, :, rows:], kept[..., columns:] = 0, 0
    found = low_pass(x, rows, columns)
    np.testing.assert_allclose(found.numpy(), idctn(kept, axes=(2, 3), norm="ortho"), atol=2e-5)
    torch.testing.assert_close(low_pass(found, rows, columns), found, atol=1e-5, rtol=0)


def test_what_the_space_expresses_passes() -> None:
    residual = FrequencySpace().residual(torch.zeros(1, 3, 30, 22), noise(1, 3, 6, 4), torch.tensor([8.0]))
    torch.testing.assert_close(low_pass(residual, 6, 4), residual, atol=1e-6, rtol=0)
