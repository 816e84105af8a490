"""Contact sheets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anti_i2v.errors import UsageError
from anti_i2v.evaluation.pictures import examples, label_sheet, residual_picture, save_frames, save_gif, save_sheet, sheet, some_frames
from anti_i2v.imaging.tensors import to_tensor


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


def test_labels_stand_beside_and_above_the_pictures() -> None:
    red = torch.tensor([1.0, 0, 0]).view(3, 1, 1).expand(3, 2, 2)
    picture = np.asarray(label_sheet([[red, red], [red, red]], ["first\nrow", "second"], ["one", ""], 40)).astype(int)
    left = picture.shape[1] - 82  # two cells of 40 and a gap
    assert picture.shape == (16 + 82, left + 82, 3)
    assert (picture[20, left + 5] == [255, 0, 0]).all()
    dark = picture.sum(-1) < 300
    assert dark[:16, left : left + 40].any()
    assert not dark[:16, left + 42 :].any()
    assert dark[16:56, :left].any()
    assert dark[58:, :left].any()


def test_clips_play_side_by_side_below_the_limit(tmp_path: Path) -> None:
    films = [[torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(i)) for i in range(2)]]
    save_gif(films, ["person"], ["clean", "protected"], tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as large:
        assert large.n_frames == 3
        width = large.width
    size = (tmp_path / "a.gif").stat().st_size
    save_gif(films, ["person"], ["clean", "protected"], tmp_path / "b.gif", limit=size)
    with Image.open(tmp_path / "b.gif") as small:
        assert small.width < width
    assert (tmp_path / "b.gif").stat().st_size < size
    with pytest.raises(UsageError, match=r"do not fit 100 bytes of c\.gif"):
        save_gif(films, ["person"], ["clean", "protected"], tmp_path / "c.gif", limit=100)
    save_frames(films, ["person"], ["clean", "protected"], tmp_path / "d.jpg", size=20)
    with Image.open(tmp_path / "d.jpg") as still:
        assert still.height == 16 + 20
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gif", "b.gif", "d.jpg"]


def test_failures_are_shown_beside_successes() -> None:
    choice = examples(torch.tensor([0.1, 0.9, float("nan"), 0.5, 0.3, 0.7, 0.2, 0.8, 0.4]))
    assert [i for i, _ in choice] == [1, 7, 5, 3, 8, 6, 0]
    assert [words.splitlines()[0] for _, words in choice] == ["strongest"] * 3 + ["median"] * 2 + ["weakest"] * 2
    assert [i for i, _ in examples(torch.tensor([0.1, 0.2]))] == [1, 0]


def test_a_sheet_is_written_completely_and_small(tmp_path: Path) -> None:
    picture = torch.linspace(0, 1, 60).expand(3, 40, 60)
    save_sheet(picture, tmp_path / "sheet.jpg")
    with Image.open(tmp_path / "sheet.jpg") as read:
        assert (read.format, read.mode, read.size) == ("JPEG", "RGB", (60, 40))
        back = to_tensor(read)
    assert (back - picture).abs().mean() < 0.02
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.jpg"]
