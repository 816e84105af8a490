"""EOT transforms against the real thing (Pillow, scipy) and against the promise of repeatable draws."""

from __future__ import annotations

import io
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from anti_i2v.errors import UsageError
from anti_i2v.training.transforms import Blur, Identity, Jpeg, Noise, RandomTransform, Resize, Transform

EVERY = [Identity(), Jpeg(), Resize(), Resize(restore=False), Blur(), Noise()]


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def smooth(height: int = 64, width: int = 64) -> torch.Tensor:
    """A smooth colour picture on the 8-bit grid, (1, 3, H, W)."""
    coarse = torch.rand(1, 3, 5, 5, generator=rng(1))
    image = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=True).clamp(0, 1)
    return (image * 255).round() / 255


@pytest.mark.parametrize("quality", [30, 75, 95])
@pytest.mark.parametrize("size", [(64, 64), (50, 37)])
def test_jpeg_agrees_with_pillow(quality: int, size: tuple[int, int]) -> None:
    image = smooth(*size)
    file = io.BytesIO()
    Image.fromarray((image[0] * 255).byte().permute(1, 2, 0).numpy()).save(file, "JPEG", quality=quality)
    real = torch.from_numpy(np.asarray(Image.open(file)).copy()).permute(2, 0, 1)[None] / 255
    ours = Jpeg((quality, quality))(image, rng())
    assert ours.shape == image.shape
    assert -10 * (ours - real).square().mean().log10() > 35


def test_jpeg_draws_one_quality_for_each_picture() -> None:
    image = torch.rand(1, 3, 32, 32, generator=rng()).expand(4, -1, -1, -1)
    coded = Jpeg((10.0, 95.0))(image, rng())
    assert len({float(x.sum()) for x in coded}) == 4


def test_resize_halves_and_comes_back() -> None:
    image = smooth(48, 32)
    assert Resize((0.5, 0.5), restore=False)(image, rng()).shape == (1, 3, 24, 16)
    back = Resize((0.5, 0.5))(image, rng())
    assert back.shape == image.shape
    assert 1e-4 < (back - image).abs().mean() < 0.02
    checks = (torch.arange(64).view(1, 1, 1, -1) % 2).float().expand(1, 3, 64, 64)
    assert Resize((0.5, 0.5))(checks, rng()).std() < 0.05  # a pattern finer than the small picture is gone


def test_blur_is_a_gaussian() -> None:
    image = torch.rand(1, 3, 40, 40, generator=rng())
    ours = Blur((1.0, 1.0))(image, rng())[0]
    theirs = gaussian_filter(image[0].double().numpy(), (0, 1, 1), mode="nearest", truncate=3)
    np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-4)


def test_noise_has_the_stated_strength() -> None:
    image = torch.full((1, 3, 100, 100), 0.5)
    assert (Noise((4.0, 4.0))(image, rng()) - image).std() * 255 == pytest.approx(4.0, rel=0.05)


@pytest.mark.parametrize("transform", EVERY, ids=lambda t: type(t).__name__)
def test_every_transform_is_differentiable_repeatable_bounded_and_stateless(transform: Transform) -> None:
    image = torch.rand(2, 3, 31, 45, generator=rng(3)).requires_grad_()
    out = transform(image, rng(5))
    assert torch.equal(out, transform(image, rng(5)))
    assert out.dtype == torch.float32
    assert out.min() >= 0
    assert out.max() <= 1
    out.square().sum().backward()
    assert image.grad is not None
    assert torch.isfinite(image.grad).all()
    assert (image.grad != 0).float().mean() > 0.9
    assert not transform.state_dict()
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(transform(image, rng(5)), out, atol=1e-6, rtol=0)


def test_random_transform_follows_its_weights_and_its_generator() -> None:
    choices: dict[str, Transform] = {"none": Identity(), "jpeg": Jpeg(), "never": Noise()}
    eot = RandomTransform(choices, {"none": 3.0, "never": 0.0})
    generator = rng()
    counts = Counter(eot.draw(generator) for _ in range(400))
    assert counts["never"] == 0
    assert counts["none"] / 400 == pytest.approx(0.75, abs=0.07)
    image = smooth(32, 32)
    first, second = rng(7), rng(7)
    assert all(torch.equal(eot(image, first), eot(image, second)) for _ in range(6))
    assert not eot.state_dict()


def test_bad_settings_are_refused_with_the_value() -> None:
    with pytest.raises(UsageError, match="'blurr'; there are: blur"):
        RandomTransform({"blur": Blur()}, {"blurr": 1.0})
    with pytest.raises(UsageError, match="not all 0"):
        RandomTransform({"blur": Blur()}, {"blur": 0.0})
    with pytest.raises(UsageError, match="quality \\(90, 20\\)"):
        Jpeg((90, 20))
