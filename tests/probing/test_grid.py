"""Where tokens lie in the picture."""

from __future__ import annotations

import pytest
import torch

from anti_i2v.errors import UsageError
from anti_i2v.probing.grid import as_map, coarse, cover, project, projection, split


def test_tokens_come_frame_after_frame_and_row_after_row() -> None:
    tokens = torch.arange(12.0).reshape(1, 12, 1)
    maps = as_map(tokens, 2, 64, 96)  # 6 tokens a frame, of a picture of 2:3
    assert maps.shape == (1, 1, 2, 2, 3)
    assert maps[0, 0, 1].tolist() == [[6, 7, 8], [9, 10, 11]]


def test_maps_stay_and_tokens_of_a_unet_get_their_rows_back() -> None:
    maps = torch.rand(2, 5, 3, 4, 6)
    assert as_map(maps, 3, 32, 48) is maps
    assert torch.equal(as_map(maps.reshape(2, 5, 3, 1, 24), 3, 32, 48), maps)


@pytest.mark.parametrize("shape", [(1, 13, 4), (1, 10, 4), (2, 4)])
def test_what_makes_no_picture_is_refused_by_name(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"blocks\.3"):
        as_map(torch.zeros(shape), 2, 64, 96, "blocks.3")


def test_a_mask_covers_shares_of_places() -> None:
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :2, :3] = 1
    assert cover(mask, torch.zeros(1, 7, 2, 2, 2))[0, 0].tolist() == [[[1, 0.5], [0, 0]]] * 2


def test_the_first_frame_and_the_later_ones() -> None:
    assert {name: part.shape[2] for name, part in split(torch.zeros(1, 1, 5, 2, 2)).items()} == {"first": 1, "later": 4}
    assert list(split(torch.zeros(1, 1, 1, 2, 2))) == ["first"]


def test_a_projection_keeps_distances() -> None:
    maps = torch.randn(1, 1000, 1, 20, 20, generator=torch.Generator().manual_seed(1))
    small = project(maps, projection(1000, 64, 0))
    assert small.shape == (1, 64, 1, 20, 20)
    assert float(small.norm() / maps.norm()) == pytest.approx(1, abs=0.02)
    assert projection(64, 64, 0) is None


def test_layers_of_two_resolutions_are_compared_on_the_coarser_grid() -> None:
    maps = torch.arange(16.0).reshape(1, 1, 1, 4, 4)
    assert coarse(maps, 2, 2)[0, 0, 0].tolist() == [[2.5, 4.5], [10.5, 12.5]]
    assert coarse(maps, 4, 4) is maps
