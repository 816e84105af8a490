"""Whether two photos show the same person, and that a generator's own embedder never says so."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from anti_i2v.embedders import refuse_shared
from anti_i2v.embedders.dlib_resnet import DlibEmbedder
from anti_i2v.errors import UsageError
from anti_i2v.evaluation.faces import face_similarity, load_face_judge
from tests.tiny.judges import tiny_faces


def test_similarity_of_aligned_faces_and_nan_where_there_is_none() -> None:
    torch.manual_seed(0)
    judge = DlibEmbedder(((4, 1, False),), dim=6).eval()
    assert judge.template is not None
    face = torch.tensor(judge.template.points)
    photos = torch.rand(3, 3, 150, 150)
    landmarks = torch.stack([face, face, torch.full((5, 2), torch.nan)])
    twice = torch.nn.functional.interpolate(photos, scale_factor=2, mode="nearest")
    same = face_similarity(judge, photos, twice, landmarks)  # landmarks follow to the other size
    assert same[:2].tolist() == pytest.approx([1, 1], abs=1e-3)
    assert bool(same[2].isnan())
    other = face_similarity(judge, photos, twice, landmarks, 2 * landmarks + torch.tensor([40.0, 0.0]))
    assert float(other[0]) < 0.9999 * float(same[0])
    with pytest.raises(UsageError, match="no landmarks"):
        face_similarity(judge, photos, photos)


def test_judges_that_need_no_landmarks_compare_whole_pictures() -> None:
    judge, photos = tiny_faces(), torch.rand(2, 3, 40, 40)
    assert face_similarity(judge, photos, photos).tolist() == pytest.approx([1, 1], abs=1e-5)


def test_an_objective_embedder_is_refused_as_judge(tmp_path: Path) -> None:
    for objectives in (["portrait-faces", "dlib"], [Path("/somewhere/dlib")]):
        with pytest.raises(UsageError, match="the judge 'dlib' is an objective embedder of this generator"):
            load_face_judge("dlib", objectives)
    refuse_shared("dlib", ["portrait-faces"])
