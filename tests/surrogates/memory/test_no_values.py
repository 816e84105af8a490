"""Code that looks at values, run on fake tensors: as if a prompt were as long as it may be."""

from __future__ import annotations

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from anti_i2v.surrogates.memory.no_values import NoValues


def sorted_by_mask(states: Tensor, mask: Tensor) -> Tensor:
    """What denoisers do that move padding to the end: tokens, then zeros for the padding."""
    return torch.cat([states[mask], torch.zeros_like(states[~mask])])


def test_a_mask_keeps_everything_and_its_inverse_nothing() -> None:
    with FakeTensorMode(), NoValues():
        states, mask = torch.zeros(7, 3), torch.zeros(7, dtype=torch.bool)
        assert states[mask].shape == (7, 3)
        assert states[~mask].shape == (0, 3)
        assert sorted_by_mask(states, mask).shape == (7, 3)
        assert torch.zeros(2, 7, 3)[torch.zeros(2, 7, dtype=torch.bool)].shape == (14, 3)


def test_a_slice_up_to_the_value_of_a_tensor_keeps_everything() -> None:
    with FakeTensorMode(), NoValues():
        states, length = torch.zeros(2, 7, 3), torch.tensor([4, 5]).sum()
        assert states[:, :length].shape == (2, 7, 3)
        assert states[:, 1:6].shape == (2, 5, 3)
        states[0, :length] = 1


def test_truth_values_are_false() -> None:
    with FakeTensorMode(), NoValues():
        assert not (torch.zeros(3) == 0).all()


def test_real_tensors_are_left_alone() -> None:
    with NoValues():
        states, mask = torch.arange(4), torch.tensor([True, False, True, False])
        assert states[mask].tolist() == [0, 2]
        assert states[~mask].tolist() == [1, 3]
        assert states[: mask.sum()].tolist() == [0, 1]
        assert mask.any()
