"""The budget is a guarantee on the saved file: checked in integers, on pixels that were really saved as 8-bit."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from anti_i2v.budget import EPSILON_MAX, check_epsilon, fit_steps_to_budget, fit_to_budget, round_down
from anti_i2v.errors import UsageError


def saved(image: Tensor) -> np.ndarray:
    """What a lossless 8-bit file of (3, H, W) holds, as (H, W, 3) integers: written and read back by Pillow."""
    pixels = (image.double() * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return np.asarray(Image.open(file)).astype(int)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Tensor, Tensor, float]:
    """A photo (on or off the grid; extremes, ramps, noise), a residual of any size, a budget."""
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    rng = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    shape = (1, 3, height, width)
    kind = draw(st.sampled_from(("noise", "black", "white", "ramp", "extremes", "near grid")))
    image = {
        "noise": torch.rand(shape, generator=rng),
        "black": torch.zeros(shape),
        "white": torch.ones(shape),
        "ramp": torch.linspace(0, 1, height * width).view(1, 1, height, width).expand(shape).clone(),
        "extremes": torch.randint(0, 2, shape, generator=rng).float(),
        "near grid": (torch.randint(0, 256, shape, generator=rng) + 0.5 + 1e-3 * torch.randn(shape, generator=rng)) / 256,
    }[kind]
    if draw(st.booleans()):
        image = (image * 255).round() / 255
    size = draw(st.sampled_from((0.0, 1e-3, 0.02, 1.0, 1e6, math.inf)))
    residual = torch.randn(shape, generator=rng).sign() * size if size == math.inf else torch.randn(shape, generator=rng) * size
    epsilon = draw(st.one_of(st.integers(0, 32).map(float), st.floats(0, EPSILON_MAX)))
    return image, residual, epsilon


@settings(max_examples=400, deadline=None)
@given(cases())
def test_the_saved_file_never_exceeds_the_budget(case: tuple[Tensor, Tensor, float]) -> None:
    image, residual, epsilon = case
    protected = fit_to_budget(image, residual, epsilon)
    assert protected.min() >= 0
    assert protected.max() <= 1
    # In exact arithmetic of the given floats, against the float photo …
    step = (protected.double() - image.double()).abs().max().item() * 255
    assert step <= epsilon + 2e-4
    # … and between the two files, in whole steps and without tolerance.
    assert np.abs(saved(protected[0]) - saved(image[0])).max() <= math.floor(epsilon)


@settings(max_examples=100, deadline=None)
@given(cases())
def test_gradient_reaches_residual_and_image(case: tuple[Tensor, Tensor, float]) -> None:
    image, residual, epsilon = case
    residual = residual.clamp(-0.05, 0.05).requires_grad_()
    image.requires_grad_()
    fit_to_budget(image, residual, epsilon).sum().backward()
    assert image.grad is not None
    assert residual.grad is not None
    assert torch.equal(image.grad, torch.ones_like(image))
    if epsilon == 0:
        assert torch.equal(residual.grad, torch.zeros_like(residual))
    elif epsilon >= 0.01:
        expected = 1 - torch.tanh(residual.double() * 255 / epsilon) ** 2
        torch.testing.assert_close(residual.grad.double(), expected, atol=1e-4, rtol=1e-3)


def test_hand_computed_values() -> None:
    image = torch.tensor([100, 100, 0, 255, 250, 3, 100]).view(1, 1, 1, 7) / 255
    residual = torch.tensor([1.0, -1.0, -1.0, 1.0, 1.0, -1.0, 2 / 255]).view(1, 1, 1, 7)
    protected = fit_to_budget(image, residual, 8.0) * 255
    assert protected.round().flatten().tolist() == [108, 92, 0, 255, 255, 0, 102]  # 8·tanh(2/8) = 1.96
    assert (fit_to_budget(image, residual, 2.9) * 255).round().flatten().tolist() == [102, 98, 0, 255, 252, 1, 102]
    assert (fit_to_budget(image, residual, 0.9) * 255).round().flatten().tolist() == [100, 100, 0, 255, 250, 3, 100]


def test_zero_epsilon_is_the_identity_bit_for_bit_also_in_a_mixed_batch() -> None:
    image = torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    residual = torch.full_like(image, 0.5, requires_grad=True)
    assert torch.equal(fit_to_budget(image, residual, 0.0), image)
    protected = fit_to_budget(image, residual, torch.tensor([0.0, 8.0]))
    assert torch.equal(protected[0], image[0])
    assert not torch.equal(protected[1], image[1])
    protected.sum().backward()
    assert residual.grad is not None
    assert torch.isfinite(residual.grad).all()


def test_output_is_bit_equal_to_8_bit_pixels() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    image = levels.float().view(1, 1, 16, 16) / 255
    protected = fit_to_budget(image, 0.02 * torch.sin(torch.arange(256.0)).view(1, 1, 16, 16), 8.0)
    assert torch.equal(protected, (protected * 255).round().to(torch.uint8).float() / 255)


@pytest.mark.parametrize("epsilon", [0.0, 1e-7, 0.3, 0.5, 1.0, 1.9999999999, 5.5, 8.0, 31.7, 32.0])
def test_bytes_change_by_what_the_levels_differ(epsilon: float) -> None:
    rng = np.random.default_rng(2)
    pixels = np.arange(256, dtype=np.uint8).repeat(97 * 3).reshape(3, 97, 256)
    residual = (rng.standard_normal(pixels.shape) * rng.choice([0.01, 0.1, 3], pixels.shape)).astype(np.float32)
    image = torch.from_numpy(pixels)[None].float() / 255
    levels = fit_to_budget(image, torch.from_numpy(residual.copy())[None], epsilon)[0].mul(255).round().numpy()
    steps = fit_steps_to_budget(pixels, residual, round_down(epsilon))
    apart = np.abs(steps - (levels - pixels))
    assert steps.dtype == np.int8
    assert apart.max() <= 1  # where torch's tanh and NumPy's round to two sides of a tie
    assert apart.mean() < 1e-3
    assert np.abs(steps).max() <= math.floor(epsilon)
    changed = pixels + steps.astype(int)
    assert 0 <= changed.min() <= changed.max() <= 255


def test_the_bound_of_bytes_is_never_rounded_up() -> None:
    assert round_down(1.9999999999) < 2
    assert round_down(5.5) == 5.5
    assert [round_down(epsilon) <= epsilon for epsilon in (0.1, 7.7, 8.3, 32)] == [True] * 4


def test_saturated_pixels_pass_gradient() -> None:
    """A white pixel that wants to be whiter can be brought back by the gradient."""
    image = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)
    residual = torch.tensor([-0.02, 0.02]).view(1, 1, 1, 2).requires_grad_()
    fit_to_budget(image, residual, 8.0).sum().backward()
    assert residual.grad is not None
    assert (residual.grad > 0.5).all()


def test_fp32_under_autocast_and_for_half_input() -> None:
    image = (torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 255).round() / 255
    residual = torch.linspace(-0.03, 0.03, 192).view(1, 3, 8, 8)
    plain = fit_to_budget(image, residual, 8.0)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(fit_to_budget(image, residual, 8.0), plain)
    assert fit_to_budget(image.bfloat16(), residual.bfloat16(), 8.0).dtype == torch.float32


@pytest.mark.parametrize("epsilon", [-1.0, 32.5, math.nan, math.inf])
def test_impossible_epsilon_is_refused_with_its_value(epsilon: float) -> None:
    with pytest.raises(UsageError, match=rf"epsilon {epsilon} is outside 0–32"):
        check_epsilon(epsilon)
    with pytest.raises(UsageError):
        fit_to_budget(torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 2), epsilon)


def test_epsilon_tensor_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(UsageError, match="shape \\(3,\\)"):
        fit_to_budget(torch.zeros(2, 3, 2, 2), torch.zeros(2, 3, 2, 2), torch.ones(3))
