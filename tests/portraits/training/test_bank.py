"""The bank: rendered once, drawn often, renewed slowly."""

from __future__ import annotations

import torch

from anti_i2v.portraits import ACTIONS, ClipBatch, PortraitClips
from anti_i2v.portraits.training.bank import Bank, to_bytes


def bank(capacity: int = 6) -> Bank:
    return Bank(PortraitClips("train", num_frames=1, height=16, width=16), to_bytes, capacity, seed=1)


def test_new_clips_replace_the_oldest() -> None:
    numbers = iter(range(100))

    def number(batch: ClipBatch) -> torch.Tensor:
        return torch.tensor([next(numbers) for _ in batch.prompts])

    ring = Bank(PortraitClips("train", num_frames=1, height=16, width=16), number, capacity=4, seed=0)
    ring.fill(3, quiet=True)
    assert len(ring) == 3
    ring.add(3)
    assert len(ring) == 4
    assert ring.rows is not None
    assert ring.rows.values.tolist() == [4, 5, 2, 3]


def test_a_rate_below_one_still_renews() -> None:
    some = bank()
    some.fill(2, quiet=True)
    for _ in range(31):
        some.refresh(0.5)
    assert some.written == 2 + 8  # in lumps of eight
    some.refresh(0.5)
    assert some.written == 2 + 16


def test_draws_belong_together_and_repeat_with_the_seed() -> None:
    a, b = bank(), bank()
    for each in (a, b):
        each.fill(6, quiet=True)
    first, second = a.draw(10), b.draw(10)
    assert torch.equal(first.values, second.values)
    assert first.prompts == second.prompts
    for prompt, action in zip(first.prompts, first.action.tolist(), strict=True):
        assert prompt in ACTIONS[action].prompts


def test_eight_bits_are_enough_to_give_the_picture_back() -> None:
    batch = PortraitClips("train", num_frames=1, height=16, width=16).batch([3])
    assert (to_bytes(batch).float() / 255 - batch.video).abs().max() <= 0.5 / 255 + 1e-6
