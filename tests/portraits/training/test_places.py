"""Photos that say where their faces are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anti_i2v.errors import UsageError
from anti_i2v.portraits.clips import PortraitClips
from anti_i2v.portraits.training import places
from anti_i2v.portraits.training.crowds import SalienceData
from anti_i2v.portraits.training.places import FacePhoto

HEAD = "file,left_eye_x,left_eye_y,right_eye_x,right_eye_y,mouth_left_x,mouth_left_y,mouth_right_x,mouth_right_y\n"


def draw_portraits(folder: Path, count: int = 3) -> Path:
    """Grey photos with a red square where the table says the face is: centre y 36, x 30, height 30."""
    folder.mkdir()
    pixels = np.full((80, 60, 3), 128, np.uint8)
    pixels[32:40, 26:34] = 255, 0, 0
    for i in range(count):
        Image.fromarray(pixels).save(folder / f"{i}.png")
    lines = [f"{i}.png,25,32,35,32,25,42,35,42\n" for i in range(count)]
    (folder / "landmarks.csv").write_text(HEAD + "".join(lines), encoding="utf-8")
    return folder


def red_centre(image: torch.Tensor) -> tuple[float, float]:
    """Centre of the red square in pixels."""
    red = (image[0] - image[1]).float().clamp(min=0) * (image[0].float() - image[1].float() > 0.3 * image.max())
    y, x = torch.arange(image.shape[1]) + 0.5, torch.arange(image.shape[2]) + 0.5
    return float((red.sum(1) * y).sum() / red.sum()), float((red.sum(0) * x).sum() / red.sum())


def test_landmarks_give_the_face(tmp_path: Path) -> None:
    portraits = places.real_portraits(draw_portraits(tmp_path / "p"))
    assert [p.faces.tolist() for p in portraits] == [[[36.0, 30.0, 30.0]]] * 3
    assert portraits[0].image.shape == (3, 80, 60)


def test_pasted_portraits_are_where_they_are_said_to_be(tmp_path: Path) -> None:
    portrait = places.real_portraits(draw_portraits(tmp_path / "p"))[0]
    random = torch.Generator().manual_seed(1)
    seen = 0
    for _ in range(12):
        photo = places.paste([portrait], [30.0], torch.full((3, 100, 120), 0.5), random)
        y, x, size = photo.faces[0].tolist()
        assert size == 30
        if 10 < y < 90 and 10 < x < 110:
            assert red_centre(photo.image.float() / 255) == pytest.approx((y, x), abs=1)
            seen += 1
    assert seen


def test_views_move_faces_with_their_pixels() -> None:
    image = torch.full((3, 120, 160), 100, dtype=torch.uint8)
    image[0, 56:64, 36:44], image[1:, 56:64, 36:44] = 255, 0
    photo, random = FacePhoto(image, torch.tensor([[60.0, 40.0, 24.0]])), torch.Generator().manual_seed(0)
    seen = 0
    for _ in range(20):
        view, faces = places.view(photo, 48, 64, random)
        assert view.shape == (3, 48, 64)
        y, x, size = faces[0].tolist()
        if size > 12 and size / 2 < y < 48 - size / 2 and size / 2 < x < 64 - size / 2:
            assert red_centre(view) == pytest.approx((y, x), abs=1)
            seen += 1
    assert seen


def test_rendered_groups_have_one_to_six_faces_in_the_frame() -> None:
    random = torch.Generator().manual_seed(3)
    for _ in range(3):
        photo = places.rendered_group(PortraitClips("train", 1), random, None)
        assert 1 <= len(photo.faces) <= 6
        assert (photo.faces[:, 0] < photo.image.shape[1]).all()
        assert (photo.faces > 0).all()


def test_a_face_that_another_covers_is_no_longer_there() -> None:
    small, large = torch.tensor([[40.0, 40.0, 12.0]]), slice(20, 70)
    assert len(places._still_seen(small, large, large, torch.ones(50, 50))) == 0
    assert len(places._still_seen(small, large, large, torch.zeros(50, 50))) == 1


@pytest.mark.parametrize(
    ("table", "message"),
    [(None, "no landmarks.csv"), ("file,left_eye_x\n0.png,3\n", "unusable row"), (HEAD + "gone.png,1,2,3,4,5,6,7,8\n", "unusable row")],
)
def test_unusable_tables_are_refused(tmp_path: Path, table: str | None, message: str) -> None:
    if table is not None:
        (tmp_path / "landmarks.csv").write_text(table, encoding="utf-8")
    with pytest.raises(UsageError, match=message):
        places.real_portraits(tmp_path)


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no pictures"):
        places.read_pictures(tmp_path)


def test_the_last_portraits_are_held_out(tmp_path: Path) -> None:
    folder = draw_portraits(tmp_path / "p", 5)
    data = SalienceData(pixels=4000, most=4, start=5, real_faces=folder, validation_faces=2, pictures=folder, validation_photos=1)
    data.setup("fit")
    assert len(data.portraits) == 3
    assert len(data.validation) == 1 + 2
    batch = data.training_batch()
    assert len(batch["image"]) == len(batch["faces"]) == 4
    assert 0 <= float(batch["image"].min()) <= float(batch["image"].max()) <= 1
    with pytest.raises(UsageError, match="has 5 portraits; give more than validation_faces, 5"):
        SalienceData(real_faces=folder, validation_faces=5, validation_photos=1).setup("fit")
