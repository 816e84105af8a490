"""Noise of equal strength."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from anti_i2v.evaluation.noise import random_residual, white_noise
from anti_i2v.imaging.metrics import rms255
from anti_i2v.protector import Protector
from tests.tiny.generator import tiny_network

EPSILON = 8.0


@pytest.fixture(scope="module")
def photos() -> Tensor:
    return torch.randint(40, 216, (2, 3, 40, 56), generator=torch.Generator().manual_seed(0)) / 255


def test_white_noise_has_the_requested_rms_within_the_budget_and_on_the_grid(photos: Tensor) -> None:
    target = torch.tensor([2.0, 5.0])
    noisy = white_noise(photos, target, EPSILON, torch.Generator().manual_seed(1))
    steps = 255 * (noisy - photos)
    assert torch.allclose(rms255(noisy - photos), target, rtol=0.02)
    assert steps.abs().max() <= EPSILON + 1e-3
    assert (steps - steps.round()).abs().max() < 1e-3
    row = steps - steps.mean()
    assert abs(float((row[..., 1:] * row[..., :-1]).mean() / row.square().mean())) < 0.05  # neighbours know nothing of each other


def test_an_rms_beyond_the_budget_ends_at_the_budget(photos: Tensor) -> None:
    noisy = white_noise(photos, torch.tensor([20.0, 20.0]), EPSILON, torch.Generator().manual_seed(1))
    assert torch.all(rms255(noisy - photos) > 7)
    assert (255 * (noisy - photos)).abs().max() <= EPSILON + 1e-3


def test_random_parameters_match_the_rms_and_are_not_the_learned_ones(photos: Tensor) -> None:
    protector = Protector(tiny_network().eval(), EPSILON)
    with torch.no_grad():
        learned = protector(photos) - photos
    other = random_residual(protector, photos, torch.tensor([3.0, 3.0]), EPSILON, torch.Generator().manual_seed(1)) - photos
    assert torch.allclose(rms255(other), torch.tensor([3.0, 3.0]), rtol=0.05)
    cosine = torch.cosine_similarity(learned.flatten(1), other.flatten(1))
    assert cosine.abs().max() < 0.6
    again = random_residual(protector, photos, torch.tensor([3.0, 3.0]), EPSILON, torch.Generator().manual_seed(1)) - photos
    assert torch.equal(other, again)
