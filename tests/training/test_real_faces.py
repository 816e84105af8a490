"""A training run on photos with landmarks against an embedder of aligned faces: from the table beside the photos to the weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anti_i2v.data import FacePhotos, PhotoDataModule
from anti_i2v.errors import UsageError
from anti_i2v.imaging.landmarks import write_landmarks
from anti_i2v.objectives import IdentityObjective
from anti_i2v.training.transforms import Resize
from anti_i2v.training.view import View
from tests.tiny import tiny_portrait_dit
from tests.tiny.onnx_faces import write_onnx
from tests.tiny.training import tiny_data, tiny_module, tiny_trainer

pytest.importorskip("onnx2torch", reason="needs anti-i2v[faces]")
FACE = np.array([[16.0, 18.0], [16.0, 22.0], [18.0, 20.0], [20.0, 18.5], [20.0, 21.5]])


class Aligned(IdentityObjective):
    """Keeps the landmarks that it was given."""

    seen: list[torch.Tensor]

    def compare(self, clean, protected, landmarks=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
        self.seen.append(landmarks)
        return super().compare(clean, protected, landmarks)


@pytest.fixture(scope="module")
def video_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_portrait_dit(tmp_path_factory.mktemp("video_model"))


@pytest.fixture
def photos(tmp_path: Path) -> FacePhotos:
    folder, random = tmp_path / "photos", np.random.default_rng(0)
    folder.mkdir()
    for i in range(8):
        Image.fromarray(random.integers(0, 256, (40, 40, 3), np.uint8)).save(folder / f"{i}.png")
    write_landmarks(folder, {f"{i}.png": [FACE, FACE + 8] for i in range(8)})
    return FacePhotos(folder, crop=0.9)


def test_landmarks_reach_the_objective_through_view_and_transform(video_model: Path, photos: FacePhotos, tmp_path: Path) -> None:
    objective = Aligned([str(write_onnx(tmp_path / "arcface"))], keep=0.0)
    objective.seen = []
    module = tiny_module(
        video_model,
        objective=objective,
        taps=["decoded"],
        view=View(size=24, face=(0.5, 0.5), place=0.0, whole=0.0),
        transform=Resize((0.8, 0.8), restore=False),
        window_jitter=0.0,
    )
    before = {name: value.clone() for name, value in module.generator.named_parameters()}
    trainer = tiny_trainer(tmp_path, max_steps=1, val_check_interval=1)
    trainer.fit(module, PhotoDataModule(photos, photo_size=32, batch_size=2))
    assert any(not torch.equal(value, before[name]) for name, value in module.generator.named_parameters())
    training, validation = objective.seen[0], objective.seen[-1]
    size = module.surrogate.height
    # Half of the view is the face, whose height is three times the way from eyes to mouth: eyes and mouth lie a sixth of the side apart.
    assert (training[:, 3:].mean(1) - training[:, :2].mean(1))[:, 0].tolist() == pytest.approx([size / 6] * 2, rel=0.12)
    assert bool(((training > 0) & (training < size)).all())
    torch.testing.assert_close(validation[0], torch.from_numpy(FACE).float() * (size / 40))
    assert module.facts()["embedders"] == ["arcface"]
    module.judge = tmp_path / "arcface"
    with pytest.raises(UsageError, match="the judge 'arcface' is an objective embedder of this generator"):
        trainer.test(module, PhotoDataModule(photos, photo_size=32, batch_size=1))


def test_photos_without_landmarks_stop_the_run(video_model: Path, tmp_path: Path) -> None:
    objective = IdentityObjective([str(write_onnx(tmp_path / "arcface"))], keep=0.0)
    with pytest.raises(UsageError, match="'arcface' reads aligned faces, and the photos have no landmarks"):
        tiny_trainer(tmp_path).fit(tiny_module(video_model, objective=objective, taps=["decoded"]), tiny_data())
