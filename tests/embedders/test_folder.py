"""Identity embedders and their folders, each for its role only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest
import torch
from safetensors.torch import save_file

from anti_i2v.embedders import Role, load_embedder, save_embedder
from anti_i2v.errors import UsageError
from tests.tiny.judges import tiny_faces, write_faces


def test_embeds_clips_of_any_size_and_a_clip_is_the_mean_of_its_frames() -> None:
    network, video = tiny_faces(), torch.rand(2, 3, 3, 40, 48)
    embedding, presence = network.embed_frames(video)
    assert (embedding.shape, presence.shape) == ((2, 3, 8), (2, 3))
    torch.testing.assert_close(embedding.norm(dim=2), torch.ones(2, 3))
    assert ((presence >= 0) & (presence <= 1)).all()
    mean = embedding.mean(1)
    torch.testing.assert_close(network(video), mean / mean.norm(dim=1, keepdim=True))


def test_pictures_of_another_size_are_resized_and_pass_their_gradient() -> None:
    network = tiny_faces()
    picture = torch.rand(1, 3, 32, 32)
    assert network.resize(picture) is picture
    large = torch.rand(1, 3, 64, 64, requires_grad=True)
    resized = network.resize(large)
    assert resized.shape == (1, 3, 32, 32)
    resized.sum().backward()  # type: ignore[no-untyped-call]
    assert large.grad is not None
    # four pixels become one: each has a weight of about a quarter, and all together those of 32 x 32 pictures
    assert float(large.grad.sum()) == pytest.approx(3 * 32 * 32, rel=1e-4)
    assert bool((large.grad > 0).all())


def test_refuses_a_video_with_nan() -> None:
    video = torch.rand(1, 2, 3, 32, 32)
    video[0, 1, 2, 3, 4] = torch.nan
    with pytest.raises(UsageError, match="NaN"):
        tiny_faces()(video)


@pytest.mark.parametrize("role", get_args(Role))
def test_loads_what_was_saved_frozen(tmp_path: Path, role: Role) -> None:
    network = tiny_faces().half().float()
    save_embedder(network, tmp_path / "faces", role)
    loaded, video = load_embedder(tmp_path / "faces", role), torch.rand(1, 2, 3, 32, 32)
    torch.testing.assert_close(loaded(video), network(video))
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    assert sorted(p.name for p in (tmp_path / "faces").iterdir()) == ["config.json", "model.safetensors"]


def test_an_embedder_is_refused_for_the_other_role(tmp_path: Path) -> None:
    save_embedder(tiny_faces(), tmp_path / "judge", "judge")
    write_faces(tmp_path / "faces")
    with pytest.raises(UsageError, match=r"judge is for the role 'judge', not 'objective'.*give e\.g\. portrait-faces"):
        load_embedder(tmp_path / "judge", "objective")
    with pytest.raises(UsageError, match=r"faces is for the role 'objective', not 'judge'.*give e\.g\. portrait-judge"):
        load_embedder(tmp_path / "faces", "judge")


def test_a_folder_without_a_role_is_a_judge(tmp_path: Path) -> None:
    save_embedder(tiny_faces(), tmp_path, "judge")
    config = tmp_path / "config.json"
    settings = json.loads(config.read_text(encoding="utf-8"))
    assert settings.pop("role") == "judge"
    config.write_text(json.dumps(settings), encoding="utf-8")
    assert load_embedder(tmp_path, "judge").config() == tiny_faces().config()
    with pytest.raises(UsageError, match="role 'judge', not 'objective'"):
        load_embedder(tmp_path, "objective")


def test_a_folder_that_is_no_identity_embedder_is_refused_by_name(tmp_path: Path) -> None:
    write_faces(tmp_path)
    config = tmp_path / "config.json"
    settings = json.loads(config.read_text(encoding="utf-8"))
    for change, message in (
        ({"format": 2}, "has format 2; this version of anti_i2v reads format 1"),
        ({"role": "witness"}, "role 'witness', not 'objective'"),
        ({"heads": 3}, "does not describe an identity embedder"),
        ({"backbone": "nothing"}, "does not describe an identity embedder"),
        ({"dim": 9}, "does not hold the weights"),
    ):
        config.write_text(json.dumps(settings | change), encoding="utf-8")
        with pytest.raises(UsageError, match=message):
            load_embedder(tmp_path, "objective")
    config.write_text(json.dumps(settings), encoding="utf-8")
    save_file({"other": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(UsageError, match="does not hold the weights"):
        load_embedder(tmp_path, "objective")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UsageError, match=r"no model\.safetensors"):
        load_embedder(tmp_path, "objective")
