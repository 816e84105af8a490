"""Figures of a layer, against values computed by hand or by another formula."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from anti_i2v.probing.moments import Groups, Moments
from anti_i2v.probing.scores import coherence, person_share, probe_r2, spectrum


def moments(features: Tensor, subject: Tensor) -> Moments:
    """Of features (photos, places, D) and shares of the subject (photos, places)."""
    sums = Moments(features.shape[2] + 1)
    sums.add(torch.cat([features, subject.unsqueeze(2)], 2))
    return sums


@pytest.fixture
def random() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_a_layer_that_knows_the_subject_explains_it_and_one_that_knows_the_place_does_not(random: torch.Generator) -> None:
    subject = (torch.rand(200, 6, generator=random) < torch.tensor([0.9, 0.8, 0.5, 0.5, 0.2, 0.1])).float()
    place = torch.eye(6).expand(200, 6, 6) + 0.01 * torch.randn(200, 6, 6, generator=random)
    knows = torch.cat([place, subject.unsqueeze(2) + 0 * place[..., :1]], 2)
    assert probe_r2(moments(knows[:100], subject[:100]), moments(knows[100:], subject[100:])) == pytest.approx(1, abs=0.01)
    # The place explains 40 % of the mask here, and none of it counts.
    assert probe_r2(moments(place[:100], subject[:100]), moments(place[100:], subject[100:])) == pytest.approx(0, abs=0.03)


def test_for_two_classes_it_is_fishers_ratio(random: torch.Generator) -> None:
    subject = (torch.arange(4000) % 4 == 0).float()  # a quarter
    away = torch.tensor([1.5, 0.0])
    features = torch.randn(4000, 2, generator=random) + subject.unsqueeze(1) * away
    sums = moments(features.unsqueeze(1), subject.unsqueeze(1))
    ratio = 1.5**2 * 0.25 * 0.75  # squared distance of the means by the scatter within, times p (1 − p)
    assert probe_r2(sums, sums) == pytest.approx(ratio / (1 + ratio), abs=0.02)


def test_masks_that_do_not_vary_give_nan() -> None:
    sums = moments(torch.rand(4, 3, 2), torch.ones(4, 3))
    assert math.isnan(probe_r2(sums, sums))


def people(values: list[list[float]]) -> Groups:
    groups = Groups(1)
    for person, photos in enumerate(values):
        for value in photos:
            groups.add(torch.tensor([value]), person)
    return groups


def test_the_share_of_the_person_is_the_intraclass_correlation() -> None:
    test = people([[1, 3], [5, 7]])
    # Mean squares: between 16 / 1, within 4 / 2; in one dimension the other people's space changes nothing.
    assert person_share(people([[0, 5], [9, 1]]), test) == pytest.approx((16 - 2) / (16 + 2))
    assert person_share(test, people([[1, 7], [3, 5]])) == pytest.approx((0 - 10) / (0 + 10))  # alike in the mean
    assert math.isnan(person_share(test, people([[1, 3]])))  # one person
    assert math.isnan(person_share(test, people([[1], [3]])))  # one photo of each


def test_a_ball_has_full_rank_and_a_line_has_rank_one() -> None:
    assert spectrum(torch.eye(4, dtype=torch.float64)) == pytest.approx((0.75, 4))
    assert spectrum(torch.diag(torch.tensor([5.0, 0, 0, 0]))) == pytest.approx((1, 1))
    assert all(math.isnan(value) for value in spectrum(torch.zeros(2, 2)))


def test_coherence_is_high_for_two_halves_and_low_for_a_chessboard() -> None:
    def picture(values: list[list[float]]) -> Tensor:
        return torch.tensor(values)[None, None, None]

    # neighbours: (1 − 1 + 1) / 3, others: −1
    assert coherence(picture([[1, 1, -1, -1]])).item() == pytest.approx(1 / 3 + 1)
    # neighbours all −1; others: (1 + 1 − 1) / 3
    assert coherence(picture([[1, -1, 1, -1]])).item() == pytest.approx(-1 - 1 / 3)
    assert math.isnan(coherence(picture([[1, -1]])).item())
