"""Muon: every direction of a weight moves equally far, and what is no matrix moves as under Adam."""

from __future__ import annotations

import pytest
import torch

from anti_i2v.training.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(8, 30), (30, 8)])
def test_singular_values_come_near_one(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    left, _, right = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    result = orthogonal(left @ torch.diag(torch.logspace(-1.5, 1.5, 8)) @ right)
    values = torch.linalg.svdvals(result)
    assert values.min() > 0.3
    assert values.max() < 1.3


def test_a_convolution_moves_by_the_step_of_adamw() -> None:
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.zeros(16, 8, 3, 3))
    weight.grad = torch.randn(16, 8, 3, 3) * 100  # the gradient's size does not matter
    Muon([weight], lr=0.01).step()
    # 16 directions of length 0.2 sqrt(72) lr over 16 x 72 values: about 0.2 lr each.
    assert weight.detach().square().mean().sqrt().item() == pytest.approx(0.002, rel=0.2)


def test_a_bias_moves_as_under_adam() -> None:
    ours, theirs = (torch.nn.Parameter(torch.tensor([1.0, -2.0, 3.0])) for _ in range(2))
    one, other = Muon([ours], lr=0.1), torch.optim.Adam([theirs], lr=0.1, betas=(0.9, 0.99))
    for step in range(5):
        for weight, optimizer in ((ours, one), (theirs, other)):
            weight.grad = torch.tensor([1.0, -0.1, 0.01]) * (step - 1.5)
            optimizer.step()
    torch.testing.assert_close(ours, theirs)
