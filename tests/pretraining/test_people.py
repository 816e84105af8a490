"""Rendered people for training the judge of identity."""

from __future__ import annotations

import torch

from anti_i2v.pretraining.people import PeopleBank


def test_the_bank_pairs_scenes_of_one_person_and_forgets_the_oldest() -> None:
    bank = PeopleBank(people=3, scenes=2, frames=1, render=16, size=16, seed=0)
    bank.fill(2)
    assert len(bank) == 2
    bank.refresh(0.5)
    bank.refresh(0.5)
    assert len(bank) == 3
    bank.seen[:] = True
    pairs = bank.draw(3)
    stored = [{bytes(scene.numpy().tobytes()) for scene in person} for person in bank.pixels[:, :, 0]]
    for first, second in pairs:
        pair = {bytes(first.numpy().tobytes()), bytes(second.numpy().tobytes())}
        assert pair in stored
    oldest = bank.pixels[0].clone()
    bank.add(1)
    assert not torch.equal(bank.pixels[0], oldest)


def test_lookalikes_come_in_groups_and_nobody_twice() -> None:
    bank = PeopleBank(people=6, scenes=2, frames=1, render=16, size=16, seed=0)
    bank.look[:, 0] = torch.tensor([0.0, 1.0, 0.05, 1.05, 0.5, 1.02])
    chosen = bank.lookalikes(torch.tensor([1, 0, 2, 3, 4, 5]), count=5, alike=3).tolist()
    assert set(chosen[:3]) == {1, 3, 5}  # around 1.0
    assert chosen[3:] == [0, 2]  # of the rest, those nearest to person 0
