"""Rendered photos as a source for training: what is kept."""

from __future__ import annotations

import pytest
import torch

from anti_i2v.errors import UsageError
from anti_i2v.portraits import GroupPhotos


def photos(source: GroupPhotos, passes: int) -> dict[bytes, int]:
    """The training photos of some passes over a source, and how often each came."""
    loader, counts = source.loader("train", 32, 2, 0, seed=1), dict[bytes, int]()
    for _ in range(passes):
        for batch in loader:
            for image in batch["image"]:
                content = (image * 255).round().byte().numpy().tobytes()
                counts[content] = counts.get(content, 0) + 1
    return counts


def test_kept_photos_come_again_and_no_others() -> None:
    counts = photos(GroupPhotos(people=(1, 1), photos=2, kept=4), passes=3)
    assert len(counts) == 4
    assert set(counts.values()) == {3}


def test_the_kept_photos_are_the_same_whatever_the_seed() -> None:
    first = next(iter(GroupPhotos(people=(1, 2), kept=2).loader("train", 32, 2, 0, seed=0)))
    again = next(iter(GroupPhotos(people=(1, 2), kept=2).loader("train", 32, 2, 0, seed=5)))
    order = first["identity"].argsort(), again["identity"].argsort()
    assert torch.equal(first["image"][order[0]], again["image"][order[1]])
    assert torch.equal(first["faces"][order[0]], again["faces"][order[1]])


def test_keeping_no_photo_is_refused() -> None:
    with pytest.raises(UsageError, match="kept is 0; give the number of training photos, at least 1, or null to draw new ones"):
        GroupPhotos(kept=0)
