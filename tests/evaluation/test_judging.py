"""Measures of the judges, from embeddings for which they can be computed by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from anti_i2v.errors import UsageError
from anti_i2v.evaluation.identity import References
from anti_i2v.evaluation.judging import Reading, find_references, identity_measures, load_judges, read_identity
from anti_i2v.portraits import ACTIONS
from tests.tiny import FRAMES
from tests.tiny.judges import tiny_judge, write_judges

PROMPTS = [action.prompts[0] for action in ACTIONS]
CPU = torch.device("cpu")


def reading(clip: list[list[float]], photo: list[list[float]]) -> Reading:
    ones = torch.ones(len(clip))
    return Reading(torch.tensor(clip), torch.tensor(photo), ones, ones, ones)


def test_the_similarity_drop_is_relative_to_the_clean_clip_and_the_photo_is_the_control() -> None:
    references = References([4, 7], torch.eye(2))
    readings = {"clean": reading([[0.8, 0.6]], [[1.0, 0.0]]), "protected": reading([[0.6, 0.8]], [[0.8, 0.6]])}
    clean, protected = identity_measures(readings, references, torch.tensor([0])).values()
    assert protected["identity_similarity"].item() == pytest.approx(0.6)
    assert protected["strangers_similarity"].item() == pytest.approx(0.8)
    assert protected["similarity_drop"].item() == pytest.approx(0.2)
    assert protected["photo_similarity_drop"].item() == pytest.approx(0.2)
    assert (clean["rank1"].item(), protected["rank1"].item()) == (1, 0)
    assert (clean["similarity_drop"].item(), clean["photo_similarity_drop"].item()) == (0, 0)


def test_the_judge_looks_at_frames_and_photo() -> None:
    judge, video = tiny_judge(), torch.rand(2, 3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    result = read_identity(judge, video, video[:, 0])
    torch.testing.assert_close(result.clip, judge(video))
    torch.testing.assert_close(result.photo, judge(video[:, :1]))
    assert torch.all(result.face == 1)
    still = read_identity(judge, video[:, :1].expand(-1, 3, -1, -1, -1), video[:, 0])
    torch.testing.assert_close(still.consistency, torch.ones(2))
    assert torch.all(result.consistency < 1)


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


def test_people_are_compared_with_other_clips_of_them_or_with_the_clean_photos() -> None:
    judge, clean = tiny_judge(), reading([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], [[0.0, 1.0], [0.6, 0.8], [1.0, 0.0]])
    identity, clips = torch.tensor([5, 2, 5]), torch.rand(2, 1, 1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    references, rows, words = find_references(judge, clean, identity, lambda people: clips[: len(people)])
    assert (references.people, rows.tolist()) == ([2, 5], [1, 0, 1])
    torch.testing.assert_close(references.embeddings, torch.cat([judge(clip) for clip in clips]))
    assert "other clothes" in words
    for who, people_clips in ((None, lambda people: clips), (identity, None), (identity, lambda people: None)):
        references, rows, words = find_references(judge, clean, who, people_clips)
        assert torch.equal(references.embeddings, clean.photo)
        assert rows.tolist() == [0, 1, 2]
        assert "a face in 3 of 3" in words
    with pytest.raises(UsageError, match="a set of 1 photo has no strangers"):
        find_references(judge, reading([[1.0, 0.0]], [[1.0, 0.0]]), None, None)
