"""Photos that say where their faces are: splits, crops, landmarks that follow, and photos without a face."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anti_i2v.data import FacePhotos
from anti_i2v.data.faces import split_of, square_around
from anti_i2v.errors import UsageError, UsageWarning
from anti_i2v.imaging.landmarks import write_landmarks

POINTS = np.array([[40.0, 30.0], [40.0, 60.0], [50.0, 45.0], [60.0, 35.0], [60.0, 55.0]])  # a face of 60 pixels around (48, 45)


def picture(points: np.ndarray, width: int = 120, height: int = 160) -> Image.Image:
    """Black with a white spot of 5 pixels at the nose."""
    pixels = np.zeros((height, width, 3), np.uint8)
    y, x = (int(value) for value in points[2])
    pixels[y - 2 : y + 3, x - 2 : x + 3] = 255
    return Image.fromarray(pixels)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """16 photos; number 3 has two faces, number 5 none."""
    table = {}
    for i in range(16):
        picture(POINTS).save(tmp_path / f"{i:02}.png")
        table[f"{i:02}.png"] = [] if i == 5 else [POINTS, POINTS + np.array([80, 40])] if i == 3 else [POINTS]
    write_landmarks(tmp_path, table)
    return tmp_path


def test_splits_are_those_of_the_number_by_name() -> None:
    count = {split: sum(split_of(i) == split for i in range(800)) for split in ("train", "validation", "test")}
    assert count == {"train": 650, "validation": 50, "test": 100}


def test_landmarks_follow_the_crop_and_photos_without_a_face_are_left_out(folder: Path) -> None:
    with pytest.warns(UsageWarning, match=r"1 of 13 photos for train in .* show no face and are left out, such as 05\.png"):
        batches = list(FacePhotos(folder, crop=0.5).loader("train", 64, 4, 0, 0))
    assert len(batches) == 3
    identities = torch.cat([batch["identity"] for batch in batches])
    assert sorted(identities.tolist()) == list(range(12))
    seen = 0
    for batch in batches:
        assert batch["image"].shape == (4, 3, 64, 64)
        assert batch["faces"].shape == (4, 2, 3)
        assert batch["landmarks"].shape == (4, 2, 5, 2)
        for image, faces, landmarks, who in zip(
            batch["image"], batch["faces"], batch["landmarks"], batch["identity"].tolist(), strict=True
        ):
            assert bool(landmarks[0].isfinite().all())
            assert 0 <= float(faces[0, 0]) < 64
            if who != 3:
                assert bool(landmarks[1].isnan().all())
                assert faces[1].tolist() == [0, 0, 0]
                y, x = torch.nonzero(image[0] > 0.5).float().mean(0).tolist()
                assert landmarks[0, 2].tolist() == pytest.approx(
                    [y + 0.5, x + 0.5], abs=1.2
                )  # the spot covers 48 to 52, its middle is 50.5
                seen += 1
    assert seen == 11


def test_evaluation_gives_the_same_crop_at_every_call(folder: Path) -> None:
    source = FacePhotos(folder)
    first, again = (next(iter(source.loader("test", 60, 8, 0, seed))) for seed in (0, 1))
    assert torch.equal(first["image"], again["image"])
    assert len(first["image"]) == 2
    # the largest square has a side of 120 and begins at the top, where the face is
    torch.testing.assert_close(first["landmarks"][0, 0], torch.from_numpy(POINTS / 2).float())
    torch.testing.assert_close(first["faces"][0, 0], torch.tensor([24.0, 22.5, 30.0]))
    assert len(next(iter(source.loader("validation", 60, 8, 0, 0)))["image"]) == 1


def test_squares_lie_within_the_photo_and_hold_the_face() -> None:
    random = torch.Generator().manual_seed(0)
    for points in (POINTS, POINTS + np.array([90, 60]), POINTS - (30, 30), 3 * POINTS):
        for _ in range(100):
            top, left, side = square_around(points, 160, 120, 0.4, random)
            assert 0 <= top <= 160 - side
            assert 0 <= left <= 120 - side
            assert 48 <= side <= 120


def test_subfolders_are_splits_with_tables_of_their_own(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "validation").mkdir()
    picture(POINTS).save(tmp_path / "validation" / "a.png")
    write_landmarks(tmp_path / "validation", {"a.png": [POINTS]})
    assert [path.name for path, _ in FacePhotos(tmp_path).photos("validation")] == ["a.png"]


def test_unusable_input_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no folder"):
        FacePhotos(tmp_path / "nothing")
    with pytest.raises(UsageError, match="crop is 0; give a share"):
        FacePhotos(tmp_path, crop=0)
    with pytest.raises(UsageError, match="no photos for train"):
        FacePhotos(tmp_path).photos("train")
    picture(POINTS).save(tmp_path / "a.png")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'anti-i2v\[faces\]'"):
        FacePhotos(tmp_path).photos("train")
    write_landmarks(tmp_path, {"a.png": []})
    with pytest.warns(UsageWarning, match="1 of 1 photos"), pytest.raises(UsageError, match="none of the 1 photos for train"):
        FacePhotos(tmp_path).photos("train")


def test_faces_are_found_once_and_kept_beside_the_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("dlib", reason="needs anti-i2v[faces]")
    from skimage import data

    Image.fromarray(data.astronaut()).save(tmp_path / "a.png")
    Image.fromarray(data.coffee()).save(tmp_path / "b.png")
    with pytest.warns(UsageWarning, match=r"1 of 2 photos .* such as b\.png"):
        ((path, faces),) = FacePhotos(tmp_path).photos("train")
    assert path.name == "a.png"
    assert len(faces) == 1
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)  # it is not looked at again
    with pytest.warns(UsageWarning):
        ((_, again),) = FacePhotos(tmp_path).photos("train")
    np.testing.assert_allclose(again[0], faces[0], atol=0.06)
