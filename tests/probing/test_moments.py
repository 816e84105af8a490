"""Sums over photos, against values computed by hand."""

from __future__ import annotations

import torch

from anti_i2v.probing.moments import Groups, Moments


def test_scatter_within_places_leaves_out_what_the_place_alone_tells() -> None:
    moments = Moments(1)
    moments.add(torch.tensor([[[1.0], [11.0]]]))  # a photo of two places
    moments.add(torch.tensor([[[3.0], [11.0]], [[2.0], [14.0]]]))  # two more
    # place 0: 1, 3, 2 around 2 → 2; place 1: 11, 11, 14 around 12 → 6
    assert moments.within().item() == 8
    # around 7: 36 + 16 + 25 + 16 + 16 + 49
    assert moments.total().item() == 158


def test_scatter_within_and_between_people_who_come_one_after_the_other() -> None:
    groups = Groups(1)
    for value, person in ((1.0, 7), (3.0, 7), (5.0, 9), (7.0, 9)):
        groups.add(torch.tensor([value]), person)
    assert (groups.photos, groups.groups) == (4, 2)
    assert groups.within().item() == 4  # 1 + 1 and 1 + 1
    assert groups.between().item() == 16  # 2 · (2 − 4)² + 2 · (6 − 4)²
