"""Rendered people in other scenes than the one that is attacked."""

from __future__ import annotations

import pytest
import torch

from anti_i2v.errors import UsageError
from anti_i2v.portraits import PortraitClips, PortraitPhotos
from anti_i2v.portraits.references import reference_clips


def test_references_show_the_person_in_scenes_that_are_not_attacked() -> None:
    (clips,) = reference_clips("test", [3], 16, 16, scenes=2, num_frames=2)
    test = PortraitClips("test", 2, 16, 16)
    expected = test.batch([3 + test.people, 3 + 2 * test.people])
    assert torch.equal(clips, expected.video)
    assert expected.identity.tolist() == [test.batch([3]).identity.item()] * 2


def test_there_are_as_many_scenes_as_the_split_has() -> None:
    with pytest.raises(UsageError, match="20 reference scenes; the split test has 1 to 19"):
        reference_clips("test", [3, 4], 32, 32, scenes=20)


def test_the_source_of_photos_gives_references_one_by_one() -> None:
    references = PortraitPhotos().references("test", [3, 4], 16, 16)
    assert [clips.shape for clips in references] == [(4, 3, 3, 16, 16)] * 2
