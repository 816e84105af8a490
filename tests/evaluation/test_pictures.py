"""Contact sheets."""

from __future__ import annotations

import torch

from anti_i2v.evaluation.pictures import residual_picture, sheet, some_frames


def test_a_sheet_places_pictures_in_cells_with_white_gaps() -> None:
    red = torch.tensor([1.0, 0, 0]).view(3, 1, 1).expand(3, 2, 2)
    picture = sheet([[red, red], [red]], size=4)
    assert picture.shape == (3, 10, 10)
    assert torch.equal(picture[:, :4, 6:], red[:, :1, :1].expand(3, 4, 4))
    assert picture[:, :, 4:6].min() == 1
    assert picture[:, 6:, 6:].min() == 1


def test_the_residual_is_shown_around_grey() -> None:
    image = torch.full((3, 1, 1), 0.5)
    assert torch.allclose(residual_picture(image, image - 0.02, gain=10), torch.full((3, 1, 1), 0.3))


def test_frames_include_the_first_and_the_last() -> None:
    clip = torch.arange(9.0).view(9, 1, 1, 1)
    assert [float(f) for f in some_frames(clip, 4)] == [0, 3, 5, 8]
    assert len(some_frames(clip[:2], 4)) == 2
