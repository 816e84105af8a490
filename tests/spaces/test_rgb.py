"""The plain space."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from anti_i2v.spaces import RgbSpace

EPSILON = torch.tensor([4.0, 8.0])


def test_a_field_is_interpolated_to_the_photos_size_in_units_of_epsilon() -> None:
    field = torch.randn(2, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    found = RgbSpace().residual(torch.zeros(2, 3, 33, 18), field, EPSILON)
    expected = F.interpolate(field, (33, 18), mode="bicubic", antialias=True, align_corners=False)
    torch.testing.assert_close(found[0], 4 / 255 * expected[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(found[1], 8 / 255 * expected[1], atol=1e-6, rtol=0)


def test_a_field_of_the_photos_size_is_the_residual() -> None:
    field = torch.randn(2, 3, 12, 10, generator=torch.Generator().manual_seed(0))
    assert torch.equal(RgbSpace().residual(torch.zeros(2, 3, 12, 10), field, EPSILON), EPSILON.view(2, 1, 1, 1) / 255 * field)
