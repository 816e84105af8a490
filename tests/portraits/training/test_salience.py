"""The training of the salience network: what its map shall be, which windows count as right, and from photos to a folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from anti_i2v.generators.salience import load_salience
from anti_i2v.inference.windows import Window
from anti_i2v.portraits.training.crowds import SalienceData
from anti_i2v.portraits.training.salience import SalienceModule, focal_loss, match, targets
from tests.tiny.stages import fit


def test_a_face_is_a_peak_in_the_cell_of_its_centre() -> None:
    heat, counts, values = targets([torch.tensor([[11.0, 21.0, 40.0]])], 32, 40)
    assert heat.shape == (1, 8, 10)
    assert (heat == 1).nonzero().tolist() == [[0, 2, 5]]
    assert counts.all()
    # the cell's middle is at y 10, x 22: a quarter of a cell above the centre and a quarter to its right
    torch.testing.assert_close(values[0, :, 2, 5], torch.tensor([0.25, -0.25, 1.0, 1.0]))
    torch.testing.assert_close(values[0, :, 3, 6], torch.tensor([-0.75, -1.25, 1.0, 0.25]))  # a neighbour points at it as well
    assert float(values[0, 3].sum()) == 3.0  # 1 and eight quarters


@pytest.mark.parametrize("face", [[16.0, 20.0, 8.0], [46.0, 60.0, 50.0], [-3.0, 20.0, 20.0]])
def test_of_faces_a_little_too_small_too_large_or_outside_nothing_is_said(face: list[float]) -> None:
    heat, counts, values = targets([torch.tensor([face])], 96, 120)
    assert not heat.any()
    assert not values[:, 3].any()
    assert 0 < float(counts.sum()) < 24 * 30


@pytest.mark.parametrize("size", [5.0, 90.0])
def test_faces_of_quite_another_size_shall_not_be_found(size: float) -> None:
    heat, counts, _ = targets([torch.tensor([[16.0, 20.0, size]])], 32, 40)
    assert not heat.any()
    assert counts.all()


def test_the_loss_is_small_where_the_map_is_right() -> None:
    heat, counts, _ = targets([torch.tensor([[11.0, 21.0, 40.0]])], 32, 40)
    right = torch.where(heat == 1, 6.0, -6.0)
    assert float(focal_loss(right, heat, counts)) < 0.01
    assert float(focal_loss(-right, heat, counts)) > 5


def test_a_window_of_the_right_place_and_size_finds_its_face_once() -> None:
    faces = torch.tensor([[50.0, 60.0, 20.0], [50.0, 160.0, 20.0]])
    right, again, large, nowhere = Window(36, 44, 32, 1.0), Window(34, 44, 32, 0.5), Window(0, 110, 100, 1.0), Window(90, 0, 32, 0.1)
    found, alone = match([right, again, large, nowhere], faces)
    assert len(found) == 1
    assert found[0] == pytest.approx((0.1, 0.0, 1.0))  # two pixels too low
    assert alone == 3


def test_a_few_steps_write_a_folder_that_loads(tmp_path: Path) -> None:
    torch.manual_seed(0)
    data = SalienceData(pixels=4000, most=4, capacity=4, start=4, fresh=0.25, validation_photos=1)
    trainer = fit(SalienceModule(str(tmp_path / "out"), width=8), data, 4, tmp_path)
    assert load_salience(tmp_path / "out").width == 8
    assert 0 <= float(trainer.callback_metrics["val/recall"]) <= 1
    again = SalienceModule(str(tmp_path / "out"), width=8, start_from=str(tmp_path / "out"))
    weight, bias = again.network.head.weight, again.network.head.bias
    torch.testing.assert_close(weight, load_salience(tmp_path / "out").head.weight)
    torch.testing.assert_close(bias, load_salience(tmp_path / "out").head.bias + torch.tensor([1.1, 0, 0, 0]), atol=0.01, rtol=0)
    assert again.network.training
    assert all(p.requires_grad for p in again.network.parameters())
