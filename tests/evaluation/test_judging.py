"""What the judges' words become, with embeddings that can be worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from anti_i2v.errors import UsageError
from anti_i2v.evaluation.identity import Gallery
from anti_i2v.evaluation.judging import Impression, action_shown, identity_measures, load_judges, look, references
from anti_i2v.portraits import ACTIONS
from tests.tiny import FRAMES
from tests.tiny.judges import tiny_actions, tiny_judge, write_judges

PROMPTS = [action.prompts[0] for action in ACTIONS]
CPU = torch.device("cpu")


def impression(clip: list[list[float]], photo: list[list[float]]) -> Impression:
    ones = torch.ones(len(clip))
    return Impression(torch.tensor(clip), torch.tensor(photo), ones, ones, ones)


def test_likeness_is_measured_against_the_clean_clip_and_the_photo_is_the_control() -> None:
    gallery = Gallery([4, 7], torch.eye(2))
    seen = {"clean": impression([[0.8, 0.6]], [[1.0, 0.0]]), "protected": impression([[0.6, 0.8]], [[0.8, 0.6]])}
    clean, protected = identity_measures(seen, gallery, torch.tensor([0])).values()
    assert protected["own"].item() == pytest.approx(0.6)
    assert protected["strangers"].item() == pytest.approx(0.8)
    assert protected["drop"].item() == pytest.approx(0.2)
    assert protected["photo_drop"].item() == pytest.approx(0.2)
    assert (clean["rank1"].item(), protected["rank1"].item()) == (1, 0)
    assert (clean["drop"].item(), clean["photo_drop"].item()) == (0, 0)


def test_the_judge_looks_at_frames_and_photo() -> None:
    judge, video = tiny_judge(), torch.rand(2, 3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    seen = look(judge, video, video[:, 0])
    torch.testing.assert_close(seen.clip, judge(video))
    torch.testing.assert_close(seen.photo, judge(video[:, :1]))
    assert torch.all(seen.face == 1)
    still = look(judge, video[:, :1].expand(-1, 3, -1, -1, -1), video[:, 0])
    torch.testing.assert_close(still.consistency, torch.ones(2))
    assert torch.all(seen.consistency < 1)


def test_an_action_counts_if_it_is_the_one_asked_for() -> None:
    classifier, clip = tiny_actions(), torch.rand(1, FRAMES, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    shown = int(classifier(clip).argmax())
    right = [float(action_shown(classifier, clip, [action.prompts[-1]])) for action in ACTIONS]
    assert right == [float(i == shown) for i in range(len(ACTIONS))]


def test_judges_that_cannot_judge_such_clips_are_left_out_with_a_note(tmp_path: Path) -> None:
    identity, actions = write_judges(tmp_path)
    judges = load_judges(identity, actions, FRAMES, PROMPTS, CPU)
    assert judges.identity is not None
    assert judges.actions is not None
    assert judges.notes == []
    judges = load_judges(None, actions, FRAMES + 4, PROMPTS, CPU)
    assert judges.identity is judges.actions is None
    assert [note.split(":")[0] for note in judges.notes] == ["no judge of identity", "actions are not judged"]
    judges = load_judges(None, actions, FRAMES, ["a person juggles"], CPU)
    assert "'a person juggles'" in judges.notes[1]
    with pytest.raises(UsageError, match="nowhere"):
        load_judges(Path("nowhere"), None, FRAMES, PROMPTS, CPU)


def test_rendered_people_are_compared_with_other_scenes_and_photos_with_themselves() -> None:
    judge, seen = tiny_judge(), impression([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], [[0.0, 1.0], [0.6, 0.8], [1.0, 0.0]])
    gallery, who, words = references(judge, seen, torch.tensor([5, 2, 5]), 16, 16)
    assert (gallery.people, who.tolist()) == ([2, 5], [1, 0, 1])
    assert "other clothes" in words
    gallery, who, words = references(judge, seen, None, 16, 16)
    assert torch.equal(gallery.embeddings, seen.photo)
    assert who.tolist() == [0, 1, 2]
    assert "a face in 3 of 3" in words
    with pytest.raises(UsageError, match="a set of 1 photo has no strangers"):
        references(judge, impression([[1.0, 0.0]], [[1.0, 0.0]]), None, 16, 16)
