"""Rendered people for training the judge of identity."""

from __future__ import annotations

from pathlib import Path

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from anti_i2v.portraits.identity import sample_identities
from anti_i2v.portraits.training.people import PeopleBank, PeopleData
from tests.tiny.stages import fit


def test_the_bank_pairs_scenes_of_one_person_and_forgets_the_oldest() -> None:
    bank = PeopleBank(people=3, scenes=2, frames=1, render=16, size=16, seed=0)
    bank.fill(2)
    assert len(bank) == 2
    bank.refresh(0.5)
    bank.refresh(0.5)
    assert len(bank) == 3
    bank.seen[:] = True
    pairs = bank.draw(3)
    scenes_of = [{bytes(scene.numpy().tobytes()) for scene in person} for person in bank.pixels[:, :, 0]]
    for first, second in pairs:
        pair = {bytes(first.numpy().tobytes()), bytes(second.numpy().tobytes())}
        assert pair in scenes_of
    oldest = bank.pixels[0].clone()
    bank.add(1)
    assert not torch.equal(bank.pixels[0], oldest)


def test_lookalikes_come_in_groups_without_repetition() -> None:
    bank = PeopleBank(people=6, scenes=2, frames=1, render=16, size=16, seed=0)
    bank.colours[:, 0] = torch.tensor([0.0, 1.0, 0.05, 1.05, 0.5, 1.02])
    chosen = bank.lookalikes(torch.tensor([1, 0, 2, 3, 4, 5]), count=5, alike=3).tolist()
    assert set(chosen[:3]) == {1, 3, 5}  # around 1.0
    assert chosen[3:] == [0, 2]  # of the rest, those nearest to person 0


def colours(people: range) -> set[tuple[float, ...]]:
    """Skin and hair of people of the training split, as a bank keeps them."""
    who = sample_identities(list(people))
    return {tuple(row) for row in torch.cat([who.skin, who.hair], dim=1).tolist()}


def test_two_banks_of_one_seed_from_each_end_share_no_person() -> None:
    met = []
    for from_end in (False, True):
        bank = PeopleBank(people=3, scenes=2, frames=1, render=16, size=16, seed=0, from_end=from_end)
        bank.clips.people = 6  # a split of six: together the two need everybody
        bank.fill(3)
        met.append({tuple(row) for row in bank.colours.tolist()})
    assert len(met[0]) == len(met[1]) == 3
    assert not met[0] & met[1]
    assert met[0] | met[1] == colours(range(6))


class Listening(LightningModule):
    """Notes for each batch whether its rows come as pairs of lookalikes."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.grouped: list[bool] = []

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        person = (batch["pairs"][:, 0, 0, 0, 0] * 255).round().long().tolist()
        self.grouped.append(person[0] // 2 == person[1] // 2)
        return self.weight

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        pass

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.0)


def test_lookalikes_start_after_the_configured_share_of_the_run(tmp_path: Path) -> None:
    data = PeopleData(4, 2, 0.5, 1, people=4, start=4, scenes=2, frames=1, render=16, size=16, fresh=0.0, validation_people=1)
    data.setup("fit")
    assert data.bank is not None
    data.bank.seen[:] = True
    data.bank.colours[:, 0] = torch.tensor([0.0, 0.1, 5.0, 5.1])  # 0 and 1 look alike, and 2 and 3
    data.bank.pixels[:] = torch.arange(4).view(4, 1, 1, 1, 1, 1)
    module = Listening()
    fit(module, data, 20, tmp_path)
    assert not all(module.grouped[:9])  # a random order pairs them in a third of the batches
    assert all(module.grouped[11:])  # one batch may have been fetched ahead
    assert len(module.grouped) == 20
