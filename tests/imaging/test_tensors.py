"""Pictures and tensors, and the straight-through operations; files are tested in `tests/files`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from anti_i2v.imaging.tensors import resize, to_pil, to_tensor, unit
from tests.tiny.photos import picture


def test_unit_clamps_exactly_and_passes_gradient_everywhere() -> None:
    x = torch.tensor([-0.5, 0.0, 0.3, 1.0, 1e6], requires_grad=True)
    y = unit(x)
    assert y.tolist() == [0.0, 0.0, pytest.approx(0.3), 1.0, 1.0]
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert gradient.tolist() == [1.0] * 5


def test_resize_is_the_identity_at_the_same_size_and_a_box_mean_over_constant_blocks() -> None:
    image = torch.rand(1, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    assert resize(image, 6, 8) is image
    flat = torch.full((1, 3, 9, 7), 0.25)
    torch.testing.assert_close(resize(flat, 4, 5), torch.full((1, 3, 4, 5), 0.25))


def test_tensor_and_picture_are_exact_inverses_on_8_bit() -> None:
    image = picture("RGB")
    assert np.array_equal(np.asarray(to_pil(to_tensor(image))), np.asarray(image))


def test_16_bit_grey_keeps_its_depth_as_a_tensor() -> None:
    x = to_tensor(Image.fromarray(np.array([[0, 1, 65535]], dtype=np.uint16)))
    torch.testing.assert_close(x[:, 0], torch.tensor([0.0, 1 / 65535, 1.0]).expand(3, 3))
