"""The penalty on visibility, by hand where colours are flat and by order where they are not."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.imaging.metrics import ciede2000, srgb_to_lab
from anti_i2v.objectives import VisibilityObjective
from anti_i2v.objectives.visibility import flatness
from anti_i2v.surrogates import Draw

DRAW = Draw(step=0, timestep=torch.tensor(999), sigma=1.0, noise=torch.zeros(1, 1))
GREY = torch.full((1, 3, 12, 12), 0.5)


def price(clean: Tensor, protected: Tensor, threshold: float = 1.0, flat_weight: float = 1.0) -> tuple[float, float, float]:
    loss, parts = VisibilityObjective(threshold, flat_weight)({"photo": clean}, {"photo": protected}, DRAW)
    return float(loss), float(parts["excess"]), float(parts["flat"])


def test_a_uniform_change_costs_what_it_is_above_the_threshold() -> None:
    tinted = GREY + torch.tensor([8.0, -2.0, 4.0]).view(3, 1, 1) / 255
    difference = float(ciede2000(GREY, tinted))
    _, excess, flat = price(GREY, tinted, threshold=1.5)
    assert excess == pytest.approx(difference - 1.5, rel=1e-5)
    a, b = (srgb_to_lab(tinted) - srgb_to_lab(GREY))[0, 1:, 0, 0].tolist()
    assert flat == pytest.approx(math.hypot(a, b), abs=2e-3)  # grey is flat everywhere
    assert price(GREY, tinted, threshold=difference + 0.1)[1] == 0
    assert price(GREY, tinted, 1.5, flat_weight=3.0)[0] == pytest.approx(difference - 1.5 + 3 * flat, rel=1e-5)


def test_lightness_alone_is_free_in_flat_regions() -> None:
    _, excess, flat = price(GREY, GREY + 6 / 255)
    assert excess > 0
    assert flat == pytest.approx(0, abs=2e-3)


def test_flatness_is_one_where_nothing_changes_and_none_at_an_edge() -> None:
    lightness = torch.full((1, 1, 20, 20), 50.0)
    lightness[..., 10:] = 60.0
    flat = flatness(lightness)[0, 0, 10]
    assert flat[:7].tolist() == [1.0] * 7
    # four of seven columns are 60: deviation 10 · √(4 · 3) / 7
    assert float(flat[10]) == pytest.approx(1 - math.sqrt(12) / 7, rel=1e-5)
    assert float(flatness(100 * (torch.arange(20) % 2).float().expand(1, 1, 20, 20))[0, 0, 10, 10]) == 0


def test_the_same_colour_change_costs_less_on_texture() -> None:
    squares = 0.3 + 0.4 * ((torch.arange(12)[:, None] + torch.arange(12)) % 2).float().expand(1, 3, 12, 12)
    tint = torch.tensor([4.0, -4.0, 0.0]).view(3, 1, 1) / 255
    assert price(squares, squares + tint)[2] < 0.1 * price(GREY, GREY + tint)[2]


def test_gradient_is_finite_at_no_change_and_leads_back_from_a_change() -> None:
    photo = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    photo[..., :4] = torch.tensor([0.0, 0.5, 1.0]).view(1, 1, 3, 1).repeat(1, 1, 4, 1)  # greys, black and white
    for threshold in (0.0, 1.0):
        objective = VisibilityObjective(threshold)
        leaf = photo.clone().requires_grad_()
        loss, _ = objective({"photo": photo}, {"photo": leaf}, DRAW)
        assert float(loss) == pytest.approx(0, abs=1e-6)
        assert bool(torch.autograd.grad(loss, leaf)[0].isfinite().all())
        changed = (photo + 0.03 * torch.randn(photo.shape, generator=torch.Generator().manual_seed(1))).requires_grad_()
        loss, _ = objective({"photo": photo}, {"photo": changed}, DRAW)
        (gradient,) = torch.autograd.grad(loss, changed)
        assert bool(gradient.isfinite().all())
        assert float((gradient * (changed - photo)).sum()) > 0


def test_a_larger_residual_has_a_higher_loss() -> None:
    photo = 0.3 + 0.4 * torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(2))
    residual = torch.randn(photo.shape, generator=torch.Generator().manual_seed(3)) / 255
    prices = [price(photo, photo + size * residual)[0] for size in (0, 0.5, 1, 2, 4, 8)]
    assert prices == sorted(set(prices))


def test_squares_of_two_pixels_are_judged_as_one() -> None:
    """As the picture at half its size; what differs within a square is not seen."""
    random = torch.Generator().manual_seed(4)
    photo, residual = torch.rand(1, 3, 12, 16, generator=random), 0.02 * torch.randn(1, 3, 12, 16, generator=random)
    wide = [picture.repeat_interleave(2, 2).repeat_interleave(2, 3) for picture in (photo, photo + residual)]
    found, parts = VisibilityObjective(0.5, reduce=2)({"photo": wide[0]}, {"photo": wide[1]}, DRAW)
    expected, expected_parts = VisibilityObjective(0.5)({"photo": photo}, {"photo": photo + residual}, DRAW)
    assert float(found) == pytest.approx(float(expected), rel=1e-4)
    assert {k: float(v) for k, v in parts.items()} == pytest.approx({k: float(v) for k, v in expected_parts.items()}, rel=1e-4)
    board = 6 / 255 * (1 - 2 * ((torch.arange(16)[:, None] + torch.arange(16)) % 2)).float()
    grey = torch.full((1, 3, 16, 16), 0.5)
    loss, _ = VisibilityObjective(0.0, reduce=2)({"photo": grey}, {"photo": grey + board}, DRAW)
    assert float(loss) == pytest.approx(0, abs=1e-3)
    assert VisibilityObjective().clean_taps == ("photo",)


def test_bad_input_is_refused() -> None:
    for bad in (-1.0, math.nan, math.inf):
        with pytest.raises(UsageError, match=f"threshold is {bad}; give a finite number from 0 on"):
            VisibilityObjective(threshold=bad)
        with pytest.raises(UsageError, match=f"flat_weight is {bad}; give a finite number from 0 on"):
            VisibilityObjective(flat_weight=bad)
    with pytest.raises(UsageError, match="reduce is 0; give 1 for every pixel, or 2"):
        VisibilityObjective(reduce=0)
    with pytest.raises(UsageError, match="VisibilityObjective needs the taps photo; add photo to the taps"):
        VisibilityObjective()({"decoded": GREY}, {"decoded": GREY}, DRAW)
    with pytest.raises(UsageError, match="photos of 3 x 12 are too small for a window of 7"):
        VisibilityObjective()({"photo": GREY[:, :, :3]}, {"photo": GREY[:, :, :3]}, DRAW)
