"""The chroma space against scikit-image's colour conversion, and what "one epsilon" means on a photograph."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from skimage import color, data

from anti_i2v.spaces import LabSpace
from anti_i2v.spaces.base import interpolation
from anti_i2v.spaces.lab import GAIN, recolour

EPSILON = torch.tensor([8.0])


def astronaut(size: int = 64) -> torch.Tensor:
    """A photograph of a person, (1, 3, size, size) in [0, 1]."""
    image = torch.from_numpy(data.astronaut()).permute(2, 0, 1)[None].float() / 255
    return F.interpolate(image, (size, size), mode="bilinear", antialias=True)


def field(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_lightness_stays_and_chroma_moves_by_epsilon_times_gain() -> None:
    image = 0.2 + 0.6 * astronaut()
    residual = LabSpace().residual(image, torch.tensor([0.5, -0.7]).view(1, 2, 1, 1), EPSILON)
    before, after = (color.rgb2lab(x[0].permute(1, 2, 0).double().numpy()) for x in (image, image + residual))
    np.testing.assert_allclose(after[..., 0], before[..., 0], atol=0.02)
    np.testing.assert_allclose(after[..., 1] - before[..., 1], 8 * GAIN * 0.5, atol=0.02)
    np.testing.assert_allclose(after[..., 2] - before[..., 2], 8 * GAIN * -0.7, atol=0.02)


def test_a_unit_field_is_about_one_epsilon_of_rgb() -> None:
    image = astronaut(96)
    for angle in torch.arange(8) * torch.pi / 4:
        direction = torch.stack((angle.cos(), angle.sin())).view(1, 2, 1, 1)
        steps = LabSpace().residual(image, direction, EPSILON).abs().amax(1) * 255
        assert 0.7 * 8 < steps.median() < 1.4 * 8


def test_zero_field_is_zero_also_at_black_and_white() -> None:
    image = torch.cat((astronaut(), torch.zeros(1, 3, 64, 64), torch.ones(1, 3, 64, 64)))
    residual = LabSpace().residual(image, torch.zeros(3, 2, 4, 4), EPSILON.expand(3))
    assert residual.abs().max() * 255 < 1e-3  # a thousandth of a step: lost in rounding


def test_the_field_is_upsampled_as_torch_does_it() -> None:
    parameters = field(1, 2, 5, 7)
    ours = interpolation(5, 33) @ parameters @ interpolation(7, 18).T
    theirs = F.interpolate(parameters, (33, 18), mode="bicubic", antialias=True, align_corners=False)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_gradients_are_finite_and_present_at_every_colour() -> None:
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 0.04045, 0.5, 1.0])] * 3)
    image = corners.T.reshape(1, 3, 8, 8).clone().requires_grad_()
    parameters = field(1, 2, 8, 8).requires_grad_()
    LabSpace().residual(image, parameters, EPSILON).square().sum().backward()
    for gradient in (image.grad, parameters.grad):
        assert gradient is not None
        assert torch.isfinite(gradient).all()
    assert parameters.grad is not None
    assert (parameters.grad != 0).all()


def test_autocast_changes_nothing() -> None:
    image, parameters = astronaut(), field(1, 2, 8, 8)
    plain = LabSpace().residual(image, parameters, EPSILON)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(LabSpace().residual(image, parameters, EPSILON), plain)


def test_a_field_of_the_photos_size_is_taken_as_it_is() -> None:
    torch.testing.assert_close(interpolation(33, 33), torch.eye(33), atol=0, rtol=0)
    image, parameters = astronaut(24), field(1, 2, 24, 24)
    pixel = LabSpace().residual(image[:, :, 5:6, 7:8], parameters[:, :, 5:6, 7:8], EPSILON)  # a photo of one pixel
    whole = LabSpace().residual(image, parameters, EPSILON)
    torch.testing.assert_close(whole[:, :, 5:6, 7:8], pixel, atol=1e-6, rtol=0)


def test_random_signs_at_every_pixel_have_an_rms_of_about_one_epsilon() -> None:
    image = astronaut(96)
    signs = field(1, 2, 96, 96).sign()
    assert 0.8 < float((LabSpace().residual(image, signs, EPSILON) * 255 / 8).square().mean().sqrt()) < 1.15


def test_recolouring_has_the_lightness_of_one_and_the_chroma_of_the_other() -> None:
    one, other = 0.3 + 0.4 * astronaut(), 0.3 + 0.4 * astronaut().flip(3)
    lab = [color.rgb2lab(x[0].permute(1, 2, 0).double().numpy()) for x in (one, other, recolour(one, other))]
    np.testing.assert_allclose(lab[2][..., 0], lab[0][..., 0], atol=0.02)
    np.testing.assert_allclose(lab[2][..., 1:], lab[1][..., 1:], atol=0.03)
    torch.testing.assert_close(recolour(one, one), one, atol=1e-5, rtol=0)
