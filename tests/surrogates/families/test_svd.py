"""What is peculiar to Stable Video Diffusion; the rest is in `test_families`."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from anti_i2v.surrogates import Draw, Surrogate
from tests.surrogates.family import FAMILIES, STEPS, Family, draw_at
from tests.surrogates.oracle import assert_close
from tests.tiny.parts import TEXT
from tests.tiny.unet import FRAMES


@pytest.fixture(scope="module")
def family() -> Family:
    return FAMILIES["svd"]


def test_sigma_is_the_share_of_noise(surrogate: Surrogate) -> None:
    # Karras' schedule (arXiv 2206.00364, equation 5) from 700 to 0.002 with rho = 7
    low, high = 0.002 ** (1 / 7), 700 ** (1 / 7)
    levels = [(high + i / (STEPS - 1) * (low - high)) ** 7 for i in range(STEPS)]
    assert surrogate.sigmas == pytest.approx([level / (1 + level) for level in levels], rel=1e-4)
    steps = {surrogate.draw(1, torch.Generator().manual_seed(seed), min_sigma=0.75).step for seed in range(20)}
    assert steps == {step for step in range(STEPS) if levels[step] >= 3}


def test_gradient_reaches_the_photo_by_both_routes(surrogate: Surrogate, photos: Tensor) -> None:
    leaf = photos.clone().requires_grad_()
    condition = surrogate.condition(leaf)
    for route in ("latents", "image_embeds"):
        (slope,) = torch.autograd.grad(condition[route].square().sum(), leaf, retain_graph=True)
        assert slope.isfinite().all()
        assert (slope != 0).float().mean() > 0.99


@pytest.mark.parametrize(
    ("tap", "shape"),
    [
        ("mid_block", (32, FRAMES, 8, 12)),
        ("down_blocks.0.attentions.0.transformer_blocks.0", (32, FRAMES, 1, 16 * 24)),
        ("down_blocks.0.resnets.0.temporal_res_block", (32, FRAMES, 16, 24)),
        ("down_blocks.0.attentions.0.temporal_transformer_blocks.0.attn1", (16 * 24 * FRAMES, 32)),
    ],
)
def test_features_come_photo_by_photo(surrogate: Surrogate, photos: Tensor, tap: str, shape: tuple[int, ...]) -> None:
    other, draw = surrogate.with_taps([tap]), draw_at(surrogate, 1)
    together = other(photos, {}, draw)[tap]
    assert together.shape == (2, *shape)
    assert draw.image_noise is not None
    second = Draw(draw.step, draw.timestep, draw.sigma, draw.noise[1:], draw.image_noise[1:])
    assert_close(together[1:], other(photos[1:], {}, second)[tap])


def test_frames_of_a_map_stay_in_order(surrogate: Surrogate) -> None:
    group: Callable[[Tensor, int], Tensor] = surrogate.group_by_photo
    value = torch.arange(2 * FRAMES * 4 * 2 * 2).view(2 * FRAMES, 4, 2, 2)
    assert torch.equal(group(value, 2)[1, :, 2], value[FRAMES + 2])


def test_prompts_have_no_effect(surrogate: Surrogate) -> None:
    assert surrogate.encode_text(["a dog runs", "she waves"]) == {}
    surrogate.drop_text_encoder()
    assert surrogate.encode_text(["another"]) == {}


def test_a_draw_is_decided_by_its_generator(surrogate: Surrogate) -> None:
    one, two, other = (surrogate.draw(2, torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))
    for name in ("noise", "image_noise"):
        assert torch.equal(getattr(one, name), getattr(two, name))
        assert not torch.equal(getattr(one, name), getattr(other, name))
    assert one.noise.shape == surrogate.latent_shape(2) == (2, FRAMES, 4, 16, 24)


def test_everything_moves_together_and_computes_in_single_precision(surrogate: Surrogate) -> None:
    assert {p.dtype for p in surrogate.parameters()} == {torch.float32}
    assert any(name.startswith("image_encoder.") for name, _ in surrogate.named_parameters())
    assert surrogate.condition(torch.rand(1, 3, 32, 48))["image_embeds"].shape == (1, 1, TEXT)
