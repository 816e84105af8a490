"""The judge of identity as users load it, and its measures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.evaluation.identity import (
    Gallery,
    IdentityJudge,
    load_identity_judge,
    portrait_gallery,
    rank1,
    save_identity_judge,
    similarity,
    way_to_strangers,
)


def tiny(face: float = 0.0) -> IdentityJudge:
    """A judge of random weights; `face` is the bias of its face logit."""
    torch.manual_seed(0)
    judge = IdentityJudge(dim=8, size=32, width=8)
    with torch.no_grad():
        judge.network.get_classifier().bias[-1] = face
    return judge.eval().requires_grad_(False)


def test_embeds_clips_of_any_size_and_a_clip_is_the_mean_of_its_frames() -> None:
    judge, video = tiny(), torch.rand(2, 3, 3, 40, 48)
    embedding, presence = judge.frames(video)
    assert (embedding.shape, presence.shape) == ((2, 3, 8), (2, 3))
    torch.testing.assert_close(embedding.norm(dim=2), torch.ones(2, 3))
    assert ((presence >= 0) & (presence <= 1)).all()
    mean = embedding.mean(1)
    torch.testing.assert_close(judge(video), mean / mean.norm(dim=1, keepdim=True))


def test_refuses_a_video_with_nan() -> None:
    video = torch.rand(1, 2, 3, 32, 32)
    video[0, 1, 2, 3, 4] = torch.nan
    with pytest.raises(UsageError, match="NaN"):
        tiny()(video)


def test_loads_what_was_saved_frozen(tmp_path: Path) -> None:
    judge = tiny().half().float()
    save_identity_judge(judge, tmp_path / "judge")
    loaded, video = load_identity_judge(tmp_path / "judge"), torch.rand(1, 2, 3, 32, 32)
    torch.testing.assert_close(loaded(video), judge(video))
    assert not any(p.requires_grad for p in loaded.parameters())
    assert sorted(p.name for p in (tmp_path / "judge").iterdir()) == ["config.json", "model.safetensors"]


def test_a_folder_that_is_no_judge_is_refused_by_name(tmp_path: Path) -> None:
    save_identity_judge(tiny(), tmp_path)
    config = tmp_path / "config.json"
    settings = json.loads(config.read_text(encoding="utf-8"))
    for change, message in (
        ({"format": 2}, "has format 2; this version of anti_i2v reads format 1"),
        ({"heads": 3}, "does not describe an identity judge"),
        ({"backbone": "nothing"}, "does not describe an identity judge"),
        ({"dim": 9}, "does not hold the weights"),
    ):
        config.write_text(json.dumps(settings | change), encoding="utf-8")
        with pytest.raises(UsageError, match=message):
            load_identity_judge(tmp_path)
    config.write_text(json.dumps(settings), encoding="utf-8")
    save_file({"other": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(UsageError, match="does not hold the weights"):
        load_identity_judge(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UsageError, match=r"no model\.safetensors"):
        load_identity_judge(tmp_path)


def faces() -> tuple[Gallery, Tensor]:
    """Three people along the axes, and three clips: of person 0, of person 2, and one that stands between 1 and 2."""
    half = 0.5**0.5
    return Gallery([4, 5, 6], torch.eye(3)), torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, half, half]])


def test_similarity_is_to_oneself_and_on_average_to_all_others() -> None:
    gallery, clips = faces()
    own, strangers = similarity(clips, gallery, torch.tensor([0, 1, 2]))
    torch.testing.assert_close(own, torch.tensor([1.0, 0.0, 0.5**0.5]))
    torch.testing.assert_close(strangers, torch.tensor([0.0, 0.5, 0.5**0.5 / 2]))
    assert rank1(clips[:2], gallery, torch.tensor([0, 1])).tolist() == [1.0, 0.0]


def test_way_to_strangers_by_hand() -> None:
    clean, own = torch.tensor([0.9, 0.9, 0.9, 0.1]), torch.tensor([0.9, 0.5, 0.0, 0.0])
    way = way_to_strangers(clean, own, torch.tensor([0.1, 0.1, 0.1, 0.2]))
    torch.testing.assert_close(way, torch.tensor([0.0, 0.5, 1.125, torch.nan]), equal_nan=True)
    assert float(way_to_strangers(clean[:3].mean(), own[:1].mean(), torch.tensor(0.1))) == pytest.approx(0.0, abs=1e-6)


def test_references_need_two_people_other_scenes_and_a_face() -> None:
    with pytest.raises(UsageError, match="one person only"):
        portrait_gallery(tiny(), "test", [3], 32, 32)
    with pytest.raises(UsageError, match="20 reference scenes; the split test has 1 to 19"):
        portrait_gallery(tiny(), "test", [3, 4], 32, 32, scenes=20)
    with pytest.raises(UsageError, match="no reference of person 3 shows a face"):
        portrait_gallery(tiny(face=-50.0), "test", [3, 4], 32, 32, scenes=1, num_frames=1)
    gallery = portrait_gallery(tiny(face=50.0), "test", [3, 4], 32, 32, scenes=1, num_frames=1)
    assert gallery.people == [3, 4]
    torch.testing.assert_close(gallery.embeddings.norm(dim=1), torch.ones(2))
