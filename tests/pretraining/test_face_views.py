"""Views of real faces for embedders: upright faces, their views, and which photo is whose split."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.pretraining.face_views import BANK, FaceViewData, look, upright

HEADER = "file,left_eye_x,left_eye_y,right_eye_x,right_eye_y,nose_x,nose_y,mouth_left_x,mouth_left_y,mouth_right_x,mouth_right_y\n"
POINTS = torch.tensor([[40.0, 30.0], [50.0, 60.0], [60.0, 40.0], [70.0, 22.0], [78.0, 46.0]])  # y, x: a head that leans to a side


def dots(points: Tensor, height: int = 120, width: int = 90) -> Tensor:
    """A grey photo (3, H, W) with the eyes red and the corners of the mouth blue."""
    photo = torch.full((3, height, width), 0.2)
    for k, (y, x) in enumerate(points.round().long().tolist()):
        photo[0 if k < 2 else 2, y - 2 : y + 3, x - 2 : x + 3] = 1.0 if k != 2 else 0.2
    return photo


def centre(channel: Tensor) -> list[float]:
    weight = (channel - 0.3).clamp(min=0)
    grid = torch.arange(channel.shape[-1], dtype=torch.float32)
    return [float((weight.sum(1) * grid).sum() / weight.sum()), float((weight.sum(0) * grid).sum() / weight.sum())]


def test_an_upright_face_has_its_mouth_straight_below_its_eyes() -> None:
    face = upright(dots(POINTS), POINTS)
    eyes, mouth = centre(face[0]), centre(face[2])
    middle, apart = (BANK - 1) / 2, BANK / 6
    torch.testing.assert_close(
        torch.tensor([eyes, mouth]), torch.tensor([[middle - apart / 2, middle], [middle + apart / 2, middle]]), atol=1.0, rtol=0
    )


def test_views_show_the_face_and_swap_what_is_around_it() -> None:
    bank = torch.stack([torch.full((3, BANK, BANK), level, dtype=torch.uint8) for level in (51, 204)])
    views = look(bank, torch.tensor([0, 1] * 8), 40, 0.0, torch.Generator().manual_seed(0))
    assert views.shape == (16, 4, 40, 40)
    assert torch.allclose(views[::2, :3], torch.tensor(0.2), atol=0.01)
    assert ((views[:, 3].mean((1, 2)) > 0.15) & (views[:, 3].mean((1, 2)) < 0.8)).all()  # the face, neither lost nor all
    swapped = look(bank, torch.tensor([0, 1] * 8), 40, 1.0, torch.Generator().manual_seed(0))
    inside = torch.nn.functional.avg_pool2d(views[:, 3:], 9, 1, 4) > 0.999
    assert torch.allclose(swapped[:, :3][inside.expand(-1, 3, -1, -1)], views[:, :3][inside.expand(-1, 3, -1, -1)], atol=0.01)
    assert (swapped[:, :3] - views[:, :3]).abs().max() > 0.5  # another photo around the face


def test_data_gives_two_views_a_person_and_keeps_people_of_validation_apart(tmp_path: Path) -> None:
    rows = ""
    for i in range(16):
        photo = (dots(POINTS) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        Image.fromarray(photo).save(tmp_path / f"{i:02}.png")
        rows += f"{i:02}.png," + ",".join(f"{x},{y}" for y, x in POINTS.tolist()) + "\n"
    (tmp_path / "landmarks.csv").write_text(HEADER + rows)
    data = FaceViewData(tmp_path, batch_people=4, faceless=3, size=40)
    data.setup("fit")
    assert len(data.bank) == 13  # of sixteen, two are for tests and one for validation
    batch = data.training_batch()
    assert batch["pairs"].shape == (4, 2, 4, 40, 40)
    assert batch["others"].shape == (3, 4, 40, 40)
    (validation,) = list(data.val_dataloader())
    assert validation["scenes"].shape == (1, 4, 1, 4, 40, 40)
    with pytest.raises(UsageError, match="13 faces for training; give more, or lower batch_people 14"):
        FaceViewData(tmp_path, batch_people=14).setup("fit")
