"""The clips of Portraits: seeded, disjoint, and moving as the prompt says."""

from __future__ import annotations

import pytest
import torch

from anti_i2v.errors import UsageError
from anti_i2v.portraits import ACTIONS, PortraitClips


def find(name: str, split: str = "train", count: int = 1) -> list[int]:
    """Indices of the first `count` clips that show an action."""
    clips = PortraitClips(split, num_frames=1, height=8, width=8)  # type: ignore[arg-type]
    actions = clips.batch(range(200)).action
    return [i for i, a in enumerate(actions.tolist()) if ACTIONS[a].name == name][:count]


def centre_of(mask: torch.Tensor) -> torch.Tensor:
    """(T, 1, H, W) → (T,) horizontal centre of mass in [-1, 1]."""
    x = torch.linspace(-1, 1, mask.shape[-1])
    return (mask * x).sum((1, 2, 3)) / mask.sum((1, 2, 3)).clamp(min=1e-6)


def test_a_clip_has_the_promised_shapes_and_ranges() -> None:
    clip = PortraitClips("test", num_frames=5, height=32, width=48)[3]
    assert clip.video.shape == (5, 3, 32, 48)
    assert clip.person_mask.shape == clip.face_mask.shape == (5, 1, 32, 48)
    assert clip.video.min() >= 0
    assert clip.video.max() <= 1
    assert clip.prompt in ACTIONS[clip.action].prompts
    assert (clip.face_mask <= clip.person_mask + 1e-6).all()


def test_the_same_index_is_the_same_clip_alone_in_a_batch_and_in_another_instance() -> None:
    first = PortraitClips("train", height=32, width=32).batch([7, 1, 9000])
    again = PortraitClips("train", height=32, width=32)[1]
    assert torch.equal(first.video[1], again.video)
    assert first.prompts[1] == again.prompt


def test_a_photo_is_the_first_frame_of_its_clip() -> None:
    photo = PortraitClips("validation", num_frames=1, height=40, width=40)[4].video
    clip = PortraitClips("validation", num_frames=9, height=40, width=40)[4].video
    assert torch.equal(photo[0], clip[0])


def test_no_person_is_in_two_splits_and_the_first_test_clips_are_different_people() -> None:
    people = {s: set(PortraitClips(s, 1, 8, 8).batch(range(256)).identity.tolist()) for s in ("train", "validation", "test")}
    assert len(people["test"]) == 256
    assert not people["train"] & people["test"]
    assert not people["train"] & people["validation"]
    assert not people["validation"] & people["test"]


def test_one_person_looks_different_in_two_clips_but_keeps_the_face() -> None:
    clips = PortraitClips("test", 1, 64, 64)
    one, other = clips.batch([5, 5 + clips.people]), clips.batch([6])
    assert one.identity[0] == one.identity[1] != other.identity[0]
    assert (one.video[0] - one.video[1]).abs().mean() > 0.05  # clothes, wall and light changed


@pytest.mark.parametrize(("name", "direction"), [("walk_left", -1), ("walk_right", 1)])
def test_walking_crosses_about_half_the_frame(name: str, direction: int) -> None:
    clips = PortraitClips("train", 9, 32, 128)  # a wide frame, so that nobody walks out of it
    for index in find(name, count=3):
        path = centre_of(clips[index].person_mask) * 4  # in half heights
        assert 0.7 < direction * float(path[-1] - path[0]) < 1.3


def test_leaning_in_doubles_the_size() -> None:
    clips = PortraitClips("train", 9, 96, 288)
    for index in find("lean_in", count=3):
        area = clips[index].face_mask.sum((1, 2, 3))
        assert 1.8 < float((area[4] / area[0]).sqrt() ** 2) < 4.0  # half way: 1.58 times the size squared, cut by the frame


@pytest.mark.parametrize(("name", "direction"), [("turn_left", -1), ("turn_right", 1)])
def test_turning_moves_the_face_to_the_side_of_the_head(name: str, direction: int) -> None:
    clips = PortraitClips("train", 9, 64, 64)
    for index in find(name, count=3):
        clip = clips[index]
        shift = centre_of(clip.face_mask) - centre_of(clip.person_mask)
        assert direction * float(shift[-1] - shift[0]) > 0.05
        assert clip.face_mask[-1].sum() < clip.face_mask[0].sum()  # part of it is out of sight


@pytest.mark.parametrize("name", ["nod", "talk", "smile", "blink", "look_away"])
def test_small_actions_move_the_person_and_leave_the_wall_alone(name: str) -> None:
    clips = PortraitClips("train", 9, 64, 64)
    clip = clips[find(name)[0]]
    change = (clip.video - clip.video[:1]).abs().mean(1, keepdim=True)
    person = clip.person_mask.amax(0, keepdim=True) > 0.001
    assert change[:, :, person[0, 0]].max() > 0.2
    assert change[:, :, ~person[0, 0]].max() < 0.12  # grain only


def test_no_line_leaks_from_thin_shapes() -> None:
    """Lips and lids end where they end: beside the mouth the skin is as smooth as it is above it."""
    from anti_i2v.portraits.canvas import cover, lens

    x, y = torch.meshgrid(torch.linspace(-1, 1, 201), torch.linspace(-1, 1, 201), indexing="xy")
    coverage = cover(lens(x, y, torch.tensor(0.3), torch.tensor(0.004)), 0.03)
    assert coverage[x.abs() > 0.33].max() == 0


def test_unknown_split_and_empty_size_are_refused_with_the_remedy() -> None:
    with pytest.raises(UsageError, match="train, validation, test"):
        PortraitClips("trainn")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="at least 1 frame"):
        PortraitClips("train", num_frames=0)
