"""Photos of several rendered people: sizes as asked, faces whole and apart, no seams, the same again."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from anti_i2v.errors import UsageError
from anti_i2v.portraits import GroupPhotos, PortraitClips
from anti_i2v.portraits.groups import GroupRequest, compose

CLIPS = PortraitClips("test", 1, 8, 8)


def request(people: int, face: float, height: int, width: int, seed: int = 0) -> GroupRequest:
    return GroupRequest(range(seed * 6, seed * 6 + people), [face] * people, height, width, seed)


def test_a_photo_is_of_the_size_asked_for_on_the_grid_of_8_bits() -> None:
    photo = compose(CLIPS, [request(2, 0.2, 150, 260)])[0]
    assert photo.image.shape == (3, 150, 260)
    assert torch.equal((255 * photo.image).round() / 255, photo.image)
    assert photo.person_mask.shape == photo.face_mask.shape == (150, 260)
    assert len(photo.faces) == len(photo.identities) == len(photo.prompts)
    assert photo.identities == [200_000, 200_001][: len(photo.faces)]


@pytest.mark.parametrize("face", [0.5, 0.25, 0.125])
def test_faces_have_the_height_asked_for_and_are_wholly_in_the_frame(face: float) -> None:
    requests = [
        request(6, face, height, width, seed) for seed, (height, width) in enumerate([(400, 300), (300, 400), (360, 640), (320, 320)])
    ]
    photos = compose(CLIPS, requests)
    assert sum(len(photo.faces) for photo in photos) >= (4 if face == 0.5 else 12)
    for photo, asked in zip(photos, requests, strict=True):
        height = photo.faces[:, 2]
        assert (height / (face * min(asked.height, asked.width)) - 1).abs().max() < 0.12
        assert (photo.faces[:, 0] - height / 2).min() >= 0
        assert (photo.faces[:, 0] + height / 2).max() <= asked.height


def test_no_face_is_covered_by_another_person() -> None:
    """What is seen of all faces together is what each shows alone, in the same place."""
    photos = compose(CLIPS, [request(6, 0.2, 300, 400, seed) for seed in range(4)])
    for photo in photos:
        boxes = [(y - h / 2, y + h / 2, x - 0.3 * h, x + 0.3 * h) for y, x, h in photo.faces.tolist()]
        for top, bottom, left, right in boxes:
            inside = photo.face_mask[int(top) : int(bottom) + 1, int(left) : int(right) + 1]
            assert inside.mean() > 0.65  # of a rounded shape in a box


def test_pixels_where_nobody_stands_are_the_background_and_edges_hold_no_colour_of_their_own() -> None:
    grey = torch.full((3, 64, 64), 0.5)
    photo = compose(CLIPS, [GroupRequest([3], [0.3], 256, 256, 1, grey)])[0]
    away = photo.person_mask == 0
    assert away.any()
    assert (photo.image[:, away] - 0.5).abs().max() < 0.08  # the sensor's grain
    dark = compose(CLIPS, [GroupRequest([3], [0.3], 256, 256, 1, torch.zeros(3, 64, 64))])[0]
    bright = compose(CLIPS, [GroupRequest([3], [0.3], 256, 256, 1, torch.ones(3, 64, 64))])[0]
    through = (bright.image - dark.image).mean(0)
    assert (through - (1 - photo.person_mask)).abs().mean() < 0.02  # as much of the background as people do not cover


def test_a_large_person_is_the_same_as_a_small_one_but_larger() -> None:
    small = compose(CLIPS, [GroupRequest([5], [0.4], 200, 200, 2, torch.full((3, 8, 8), 0.4))])[0]
    large = compose(CLIPS, [GroupRequest([5], [0.4], 1600, 1600, 2, torch.full((3, 8, 8), 0.4))])[0]
    assert (large.faces / 8 - small.faces).abs().max() < 1.5
    reduced = torch.nn.functional.avg_pool2d(large.image[None], 8)[0]
    assert (reduced - small.image).abs().mean() < 0.01


def test_a_photo_does_not_depend_on_what_is_composed_with_it() -> None:
    requests = [request(3, 0.2, 96, 128, seed) for seed in range(3)]
    together, alone = compose(CLIPS, requests)[1], compose(CLIPS, [replace(requests[1])])[0]
    assert (together.image - alone.image).abs().max() <= 1.01 / 255
    assert torch.equal(together.faces, alone.faces)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (GroupRequest([], [], 64, 64, 0), "0 people"),
        (GroupRequest(range(7), [0.1] * 7, 64, 64, 0), "7 people"),
        (GroupRequest([0], [1.2], 64, 64, 0), "faces"),
        (GroupRequest([0, 1], [0.2], 64, 64, 0), "faces"),
        (GroupRequest([0], [0.5], 8, 64, 0), "8x64"),
    ],
)
def test_what_cannot_be_composed_is_said(asked: GroupRequest, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        compose(CLIPS, [asked])


def test_group_photos_are_a_source_whose_batches_say_where_faces_are() -> None:
    source = GroupPhotos(people=(1, 3), face=(0.2, 0.6), photos=6)
    batch = next(iter(source.loader("train", 96, 4, 0, 0)))
    assert batch["image"].shape == (4, 3, 96, 96)
    assert batch["faces"].shape == (4, 6, 3)
    assert (batch["faces"][:, 0, 2] > 0.15 * 96).all()
    assert set(batch["prompt"]) <= set(source.prompts)
    assert (batch["faces"][:, 3:] == 0).all()
    first, again = (list(source.loader("test", 64, 4, 0, seed)) for seed in (0, 1))
    assert [len(part["prompt"]) for part in first] == [4, 2]
    assert torch.equal(torch.cat([part["image"] for part in first]), torch.cat([part["image"] for part in again]))
    assert torch.cat([part["identity"] for part in first]).tolist() == list(range(6))


def test_ranges_that_cannot_be_are_refused() -> None:
    for people, face in (((0, 2), (0.2, 0.5)), ((3, 2), (0.2, 0.5)), ((1, 7), (0.2, 0.5)), ((1, 2), (0.0, 0.5)), ((1, 2), (0.2, 1.5))):
        with pytest.raises(UsageError):
            GroupPhotos(people, face)
