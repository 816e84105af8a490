"""Features as colours."""

from __future__ import annotations

import torch

from anti_i2v.probing.pca import colours


def test_what_is_alike_has_one_colour_in_every_photo_and_the_strongest_difference_is_red() -> None:
    subject = torch.zeros(2, 1, 1, 4, 4)
    subject[:, :, :, 1:3, 1:3] = 1
    subject[1, :, :, 0, 0] = 1
    axis = torch.tensor([3.0, -1, 0.5, 2, 1]).view(1, 5, 1, 1, 1)
    picture = colours(subject * axis + 7)
    assert picture.shape == (2, 3, 1, 4, 4)
    red, rest = picture[:, 0], picture[:, 1:]
    torch.testing.assert_close(red, subject[:, 0], rtol=0, atol=1e-6)  # the sign of the largest loading decides which is 0 and which 1
    assert torch.equal(rest, torch.full_like(rest, 0.5))  # there is no second difference


def test_the_order_of_channels_and_a_constant_change_nothing() -> None:
    maps = torch.randn(1, 6, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(colours(maps), colours(maps.flip(1) + 4), atol=1e-5)
    assert colours(maps[:, :2]).shape == (1, 3, 2, 3, 3)
