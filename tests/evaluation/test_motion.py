"""Motion against pictures that were moved by a known amount."""

from __future__ import annotations

import pytest
import torch
from skimage import data
from torch import Tensor

from anti_i2v.evaluation.motion import dynamic_degree, optical_flow


def view(right: int, down: int, size: int = 64) -> Tensor:
    """A photograph's cut-out whose content has moved right and down."""
    photo = torch.from_numpy(data.camera()).float() / 255
    return photo[150 - down : 150 - down + size, 150 - right : 150 - right + size]


@pytest.mark.parametrize(("right", "down"), [(1, 0), (3, -2), (-4, 5)])
def test_the_flow_of_a_moved_photograph_is_the_move(right: int, down: int) -> None:
    flow = optical_flow(view(0, 0)[None], view(right, down)[None])[0]
    assert flow.shape == (2, 64, 64)
    inside = flow[:, 8:-8, 8:-8].flatten(1)
    assert inside.median(1).values.tolist() == pytest.approx([right, down], abs=0.15)


def test_nothing_moves_in_a_still_clip_or_a_single_frame() -> None:
    still = view(0, 0).expand(1, 4, 3, 64, 64)
    assert dynamic_degree(still).item() == pytest.approx(0, abs=1e-3)
    assert dynamic_degree(still[:, :1]).item() == 0


def test_more_motion_is_a_higher_degree_in_percent_of_the_side() -> None:
    def clip(step: int) -> Tensor:
        return torch.stack([view(step * t, 0) for t in range(4)])[:, None].expand(-1, 3, -1, -1)

    slow, fast = dynamic_degree(torch.stack([clip(1), clip(3)])).tolist()
    assert 100 / 64 * 0.9 < slow < fast  # most of the picture moves by 1 of 64 pixels; some of it seems to move more
    assert fast > 300 / 64 * 0.9


def test_size_and_colour_do_not_matter() -> None:
    clip = torch.stack([view(2 * t, 0, 64) for t in range(3)])[None, :, None].expand(-1, -1, 3, -1, -1)
    large = torch.nn.functional.interpolate(clip.flatten(0, 1), scale_factor=2, mode="bilinear").unflatten(0, (1, 3))
    assert dynamic_degree(large).item() == pytest.approx(dynamic_degree(clip).item(), rel=0.1)
    tint = torch.tensor([0.1, 0.0, -0.1 * 0.299 / 0.114]).view(3, 1, 1)  # same luma: 0.299 r + 0.587 g + 0.114 b
    assert dynamic_degree(clip + tint).item() == pytest.approx(dynamic_degree(clip).item(), rel=1e-2)
