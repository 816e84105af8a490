"""The measures of the judge of identity."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.evaluation.identity import References, embed_references, identity_shift, load_identity_judge, rank1, similarity
from tests.tiny.judges import tiny_faces, tiny_judge, write_faces, write_judges


def test_a_network_that_objectives_attack_is_no_judge(tmp_path: Path) -> None:
    judge, video = load_identity_judge(write_judges(tmp_path)[0]), torch.rand(1, 2, 3, 32, 32)
    torch.testing.assert_close(judge(video), tiny_judge()(video), atol=0.01, rtol=0)  # the file is in half precision
    with pytest.raises(UsageError, match="faces is for the role 'objective', not 'judge'"):
        load_identity_judge(write_faces(tmp_path / "faces"))


def faces() -> tuple[References, Tensor]:
    """Three people along the axes, and three clips: of person 0, of person 2, and one that stands between 1 and 2."""
    half = 0.5**0.5
    return References([4, 5, 6], torch.eye(3)), torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, half, half]])


def test_similarity_is_to_oneself_and_on_average_to_all_others() -> None:
    references, clips = faces()
    own, strangers = similarity(clips, references, torch.tensor([0, 1, 2]))
    torch.testing.assert_close(own, torch.tensor([1.0, 0.0, 0.5**0.5]))
    torch.testing.assert_close(strangers, torch.tensor([0.0, 0.5, 0.5**0.5 / 2]))
    assert rank1(clips[:2], references, torch.tensor([0, 1])).tolist() == [1.0, 0.0]


def test_identity_shift_equals_the_hand_computed_value() -> None:
    clean, own = torch.tensor([0.9, 0.9, 0.9, 0.1]), torch.tensor([0.9, 0.5, 0.0, 0.0])
    shift = identity_shift(clean, own, torch.tensor([0.1, 0.1, 0.1, 0.2]))
    torch.testing.assert_close(shift, torch.tensor([0.0, 0.5, 1.125, torch.nan]), equal_nan=True)
    assert float(identity_shift(clean[:3].mean(), own[:1].mean(), torch.tensor(0.1))) == pytest.approx(0.0, abs=1e-6)


def test_references_need_two_people_and_a_face() -> None:
    clips = torch.rand(2, 1, 1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with pytest.raises(UsageError, match="one person only"):
        embed_references(tiny_faces(), [3], clips[:1])
    with pytest.raises(UsageError, match="no reference of person 3 shows a face"):
        embed_references(tiny_faces(face=-50.0), [3, 4], clips)
    references = embed_references(tiny_faces(face=50.0), [3, 4], clips)
    assert references.people == [3, 4]
    torch.testing.assert_close(references.embeddings.norm(dim=1), torch.ones(2))
