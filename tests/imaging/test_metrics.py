"""Metrics against published pairs and figures that can be computed by hand."""

from __future__ import annotations

import math

import pytest
import torch

from anti_i2v.imaging.metrics import ciede2000, delta_e2000, mean_interval, psnr, rms255, srgb_to_lab

# Sharma, Wu and Dalal, "The CIEDE2000 color-difference formula" (2005), Table 1: hard cases around grey and 180°.
SHARMA = [
    ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
    ((50.0, -1.3802, -84.2814), (50.0, 0.0, -82.7485), 1.0000),
    ((50.0, 0.0, 0.0), (50.0, -1.0, 2.0), 2.3669),
    ((50.0, 2.49, -0.001), (50.0, -2.49, 0.0009), 7.1792),
    ((50.0, 2.49, -0.001), (50.0, -2.49, 0.0011), 7.2195),
    ((50.0, -0.001, 2.49), (50.0, 0.0009, -2.49), 4.8045),
    ((50.0, 2.5, 0.0), (50.0, 0.0, -2.5), 4.3065),
    ((50.0, 2.5, 0.0), (73.0, 25.0, -18.0), 27.1492),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
    ((6.7747, -0.2908, -2.4247), (5.8714, -0.0985, -2.2286), 0.6377),
    ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
]


@pytest.mark.parametrize(("one", "other", "expected"), SHARMA)
def test_delta_e_gives_the_published_differences_both_ways_round(one: tuple[float, ...], other: tuple[float, ...], expected: float) -> None:
    a, b = torch.tensor([one], dtype=torch.float64), torch.tensor([other], dtype=torch.float64)
    assert delta_e2000(a, b).item() == pytest.approx(expected, abs=1e-4)
    assert delta_e2000(b, a).item() == pytest.approx(expected, abs=1e-4)


def test_ciede2000_equals_scikit_image_on_pictures() -> None:
    color = pytest.importorskip("skimage.color")
    generator = torch.Generator().manual_seed(0)
    a = torch.rand(2, 3, 16, 16, generator=generator, dtype=torch.float64)
    b = (a + 0.05 * torch.randn(a.shape, generator=generator, dtype=torch.float64)).clamp(0, 1)
    lab = [color.rgb2lab(x.permute(0, 2, 3, 1).numpy()) for x in (a, b)]
    expected = torch.from_numpy(color.deltaE_ciede2000(*lab)).mean((1, 2)).float()
    torch.testing.assert_close(ciede2000(a, b), expected, rtol=1e-4, atol=1e-5)


def test_delta_e_has_a_gradient_everywhere_also_between_equal_colours_and_at_greys() -> None:
    random = torch.Generator().manual_seed(0)
    photo = torch.rand(1, 3, 4, 4, generator=random)
    photo[..., 0, :] = torch.tensor([0.0, 0.5, 1.0, 0.03])  # greys; black has no chroma at all
    for changed in (photo, photo + 0.02 * torch.randn(photo.shape, generator=random), photo + 0.01):
        leaf = changed.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(delta_e2000(srgb_to_lab(photo), srgb_to_lab(leaf)).sum(), leaf)
        assert bool(gradient.isfinite().all())
    grey, red = torch.tensor([[50.0, 0, 0]]), torch.tensor([[50.0, 3.0, 1.0]])
    for one, other in ((grey, grey), (red, grey), (grey, red)):
        lab = other.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(delta_e2000(one, lab).sum(), lab)
        assert bool(gradient.isfinite().all())


def test_delta_e_has_the_slope_of_its_finite_differences() -> None:
    random = torch.Generator().manual_seed(1)
    lab = torch.tensor([50.0, 0, 0]) + torch.tensor([20.0, 30, 30]) * torch.randn(8, 3, generator=random, dtype=torch.float64)
    other = (lab + torch.randn(lab.shape, generator=random, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: delta_e2000(lab, x), other)


def test_more_of_a_change_is_more_to_see() -> None:
    random = torch.Generator().manual_seed(2)
    photo = 0.2 + 0.6 * torch.rand(1, 3, 16, 16, generator=random)
    change = torch.randn(photo.shape, generator=random)
    seen = [float(ciede2000(photo, photo + size / 255 * change)) for size in (0, 0.25, 0.5, 1, 2, 4, 8)]
    assert seen[0] == 0
    assert seen == sorted(set(seen))


def test_lab_of_white_and_black() -> None:
    lab = srgb_to_lab(torch.tensor([1.0, 0.0]).view(2, 1, 1, 1).expand(2, 3, 1, 1))[:, :, 0, 0]
    torch.testing.assert_close(lab, torch.tensor([[100.0, 0, 0], [0, 0, 0]], dtype=torch.float64), atol=6e-3, rtol=0)


def test_psnr_of_a_constant_step_and_of_equal_pictures() -> None:
    a = torch.full((2, 3, 4, 5), 0.5)
    b = a.clone()
    b[0] += 8 / 255  # 20·log10(255 / 8) = 30.07 dB
    assert psnr(a, b)[0].item() == pytest.approx(20 * math.log10(255 / 8), abs=1e-3)
    assert psnr(a, b)[1].item() == math.inf


def test_rms_is_in_steps_of_the_8_bit_pixel() -> None:
    residual = torch.tensor([3.0, -4.0]).view(1, 1, 1, 2) / 255
    assert rms255(residual).item() == pytest.approx(math.sqrt(12.5), rel=1e-6)


def test_interval_uses_student_t() -> None:
    # Mean 3, s = √2.5, t(0.975, 4) = 2.776 445: half-width 1.963 243.
    mean, low, high = mean_interval(torch.tensor([1.0, 2, 3, 4, 5]))
    assert (mean, low, high) == pytest.approx((3, 3 - 1.963243, 3 + 1.963243), abs=1e-5)
    # t(0.975, 1) = 12.706 205, s = √0.5.
    assert mean_interval(torch.tensor([0.0, 1.0]))[2] == pytest.approx(0.5 + 12.706205 / 2, abs=1e-5)
    # Many values: t(0.975, 63) = 1.998 341.
    x = torch.arange(64.0)
    assert mean_interval(x)[2] == pytest.approx(31.5 + 1.998341 * float(x.double().std()) / 8, abs=1e-5)


def test_one_value_has_no_interval() -> None:
    mean, low, high = mean_interval(torch.tensor([2.0]))
    assert mean == 2
    assert math.isnan(low)
    assert math.isnan(high)
