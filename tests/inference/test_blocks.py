"""Photos of any size change block by block, never beyond the steps, never out of range."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from anti_i2v.inference import blocks


def test_people_are_sought_in_a_copy_of_480_pixels_or_somewhat_more() -> None:
    assert blocks.finding_block((4000, 959)) == (1, 1)
    assert blocks.finding_block((960, 4000)) == (2, 2)
    assert blocks.finding_block((4032, 3024)) == (6, 6)  # a phone's 12 megapixels: 672 × 504 blocks
    assert blocks.finding_block((1, 5000)) == (1, 1)


def test_the_smallest_person_decides_how_fine_a_photo_is_changed() -> None:
    assert blocks.block_of((4000, 3000), [1600, 2000]) == (10, 10)  # 160 blocks along a window of 1600 pixels
    assert blocks.block_of((4000, 3000), [1600, 319]) == (1, 1)
    assert blocks.block_of((4000, 3000), [320]) == (2, 2)
    assert blocks.block_of((4000, 3000), []) == blocks.finding_block((4000, 3000))
    assert blocks.block_of((8000, 6001), [100]) == (3, 3)  # 48 megapixels: no more than 12 are floats at once


def test_blocks_change_and_stop_at_black_and_white() -> None:
    photo = Image.fromarray(np.array([[0, 100, 250], [2, 101, 255], [3, 4, 5]], np.uint8))
    steps = np.array([[[-3], [8]], [[4], [-8]]], np.int8)
    changed = blocks.add_steps(photo, steps, (2, 2))  # those at the right and lower edge are cut
    assert np.asarray(changed).tolist() == [[0, 97, 255], [0, 98, 255], [7, 8, 0]]


def test_sixteen_bits_change_by_257_a_step() -> None:
    photo = Image.fromarray(np.array([[100, 40000], [300, 65000]], np.uint16))
    changed = blocks.add_steps(photo, np.array([[[-1], [3]]], np.int8), (1, 2))
    assert changed.mode == "I;16"
    assert np.asarray(changed).tolist() == [[0, 40771], [43, 65535]]


@pytest.mark.parametrize("block", [(1, 1), (3, 4), (7, 1), (1, 9)])
@pytest.mark.parametrize("strip", [1, 300, 2**18])
def test_strips_of_any_size_give_the_same_picture(block: tuple[int, int], strip: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (35, 50, 3), dtype=np.uint8)
    rows, columns = -(-35 // block[1]), -(-50 // block[0])
    steps = rng.integers(-32, 33, (rows, columns, 3)).astype(np.int8)
    whole = steps.repeat(block[1], 0).repeat(block[0], 1)[:35, :50].astype(int)
    monkeypatch.setattr(blocks, "STRIP", strip)
    changed = blocks.add_steps(Image.fromarray(pixels), steps, block)
    np.testing.assert_array_equal(np.asarray(changed), np.clip(pixels + whole, 0, 255))
