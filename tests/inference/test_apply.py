"""A photo at the size that a network takes, as torch would resize it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from anti_i2v.imaging.tensors import resize
from anti_i2v.inference import apply


@pytest.mark.parametrize("size", [(504, 480), (1, 1), (20, 30), (32, 32), (500, 3)])
@pytest.mark.parametrize("strip", [100, 2**18])
def test_a_photo_shrinks_as_in_torch(size: tuple[int, int], strip: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apply, "SHRUNK", strip)
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    expected = resize(torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255, 32, 32)[0]
    np.testing.assert_allclose(apply.shrink(pixels, 32, 32), expected.numpy(), rtol=0, atol=1e-5)  # sums of up to 64 products
