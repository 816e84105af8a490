"""Windows around faces, from maps made by hand."""

import math

import numpy as np
import pytest

from anti_i2v.errors import UsageError
from anti_i2v.inference.windows import MAX_PIXELS, MOST, Map, Window, find_windows, levels, mask

SURE, LIKELY, WEAK, NOTHING = 4.0, 0.0, math.log(0.3125 / 0.6875), -8.0


def empty(height: int, width: int) -> list[Map]:
    """Maps of all copies of a photo, without a face."""
    maps = [np.zeros((4, math.ceil(h / 4), math.ceil(w / 4)), np.float32) for h, w in levels(height, width)]
    for values in maps:
        values[0] = NOTHING
    return maps


def put(values: Map, row: int, column: int, logit: float, height: float = 20.0, y: float = 0.0, x: float = 0.0) -> None:
    """A face at a cell; `height` is in pixels of the copy, `y` and `x` are its place in the cell."""
    values[:, row, column] = logit, y, x, math.log2(height / 20)


def test_copies_double_up_to_384_pixels() -> None:
    assert levels(3000, 4000) == [(24, 32), (48, 64), (96, 128), (192, 256), (384, 512)]
    assert levels(4000, 3000) == [(32, 24), (64, 48), (128, 96), (256, 192), (512, 384)]
    assert levels(384, 384) == [(24, 24), (48, 48), (96, 96), (192, 192), (384, 384)]


def test_a_photo_between_two_sizes_is_seen_at_its_own_as_well() -> None:
    assert levels(95, 60) == [(38, 24), (76, 48), (95, 60)]
    assert levels(17, 33) == [(17, 33)]
    assert levels(50, 50) == [(24, 24), (48, 48)]  # nothing to gain by two pixels


def test_photos_too_small_for_a_face_have_no_copy_and_no_window() -> None:
    for size in ((1, 1), (10, 5000), (5000, 15)):
        assert levels(*size) == []
        assert find_windows([], *size) == []


@pytest.mark.parametrize(
    ("height", "width"), [(16, 5000), (1000, 100_000), (100_000, 1000), (9000, 11_000), (100, 1_000_000), (2000, 20_000)]
)
def test_no_copy_is_gigantic_or_larger_than_the_photo(height: int, width: int) -> None:
    for h, w in levels(height, width):
        assert 16 <= min(h, w) <= 384
        assert h <= height
        assert w <= width
        assert h * w <= MAX_PIXELS * 1.01


def test_one_peak_is_one_square_around_the_face() -> None:
    maps = empty(96, 128)
    put(maps[2], 10, 20, SURE, height=20, y=0.25, x=-0.25)  # the copy is the photo: centre at y 43, x 81, side 32
    assert find_windows(maps, 96, 128) == [Window(27, 65, 32, 1.0)]


def test_a_face_in_a_small_copy_is_scaled_to_the_photo() -> None:
    maps = empty(2400, 3200)
    put(maps[0], 2, 3, SURE, height=15)  # centre (10, 14) of 24 × 32, hundredfold
    assert find_windows(maps, 2400, 3200) == [Window(-200, 200, 2400, 1.0)]


def test_a_window_may_reach_beyond_the_frame() -> None:
    maps = empty(24, 24)
    put(maps[0], 0, 5, SURE, height=20)
    assert find_windows(maps, 24, 24) == [Window(-14, 6, 32, 1.0)]


def test_a_face_found_in_two_copies_is_one_window_the_stronger() -> None:
    maps = empty(96, 128)
    put(maps[1], 5, 10, LIKELY, height=11)
    put(maps[2], 10, 20, SURE, height=20)
    assert find_windows(maps, 96, 128) == [Window(26, 66, 32, 1.0)]


def test_two_faces_a_face_apart_are_two_windows() -> None:
    maps = empty(96, 128)
    put(maps[2], 10, 10, SURE, height=16)
    put(maps[2], 10, 14, LIKELY, height=16)
    assert [w.left for w in find_windows(maps, 96, 128)] == [29, 45]


def test_a_small_face_beside_a_large_one_stays_where_it_is_not_within_half_of_it() -> None:
    maps = empty(96, 128)
    put(maps[2], 10, 10, SURE, height=40)
    put(maps[2], 10, 14, LIKELY, height=10)  # 16 pixels away, half of the larger is 20
    put(maps[2], 10, 16, LIKELY, height=10)  # 24 pixels away
    assert [w.side for w in find_windows(maps, 96, 128)] == [64, 16]


@pytest.mark.parametrize(("probability", "strength"), [(0.26, 0.04), (0.3125, 0.25), (0.5, 1.0), (0.9, 1.0)])
def test_strength_rises_from_a_quarter_to_a_half(probability: float, strength: float) -> None:
    maps = empty(96, 128)
    put(maps[2], 3, 3, math.log(probability / (1 - probability)))
    assert find_windows(maps, 96, 128)[0].strength == pytest.approx(strength, abs=1e-5)


def test_below_a_quarter_there_is_nothing() -> None:
    maps = empty(96, 128)
    put(maps[2], 3, 3, math.log(0.24 / 0.76))
    assert find_windows(maps, 96, 128) == []


def test_the_most_probable_comes_first_and_equals_come_from_the_top_left() -> None:
    maps = empty(384, 512)
    for row, column, logit in ((70, 10, LIKELY), (40, 100, SURE), (40, 60, SURE), (10, 10, WEAK)):
        put(maps[4], row, column, logit)
    windows = find_windows(maps, 384, 512)
    assert [(w.top, w.left) for w in windows] == [(146, 226), (146, 386), (266, 26), (26, 26)]
    assert [w.strength for w in windows] == pytest.approx([1, 1, 1, 0.25])


def test_a_change_far_away_moves_no_window_here() -> None:
    maps = empty(384, 512)
    put(maps[4], 20, 20, LIKELY)
    alone = find_windows(maps, 384, 512)
    put(maps[4], 80, 100, SURE)
    put(maps[2], 3, 28, SURE)
    assert alone[0] in find_windows(maps, 384, 512)


def test_a_plateau_is_one_window() -> None:
    maps = empty(96, 96)
    for row, column in ((10, 10), (10, 11), (11, 10), (11, 11)):
        put(maps[2], row, column, SURE)
    assert len(find_windows(maps, 96, 96)) == 1


def test_a_crowd_gives_the_strongest_64() -> None:
    maps = empty(384, 512)
    for i in range(15):
        for j in range(20):
            put(maps[4], 6 * i + 2, 6 * j + 2, LIKELY + 0.01 * (20 * i + j), height=10)
    windows = find_windows(maps, 384, 512)
    assert len(windows) == MOST
    assert windows[0] == Window(6 * 14 * 4 + 10 - 8, 6 * 19 * 4 + 10 - 8, 16, 1.0)


def test_maps_of_another_photo_are_refused() -> None:
    with pytest.raises(ValueError, match="2 maps for the 5 copies"):
        find_windows(empty(50, 50), 384, 384)


def test_a_damaged_network_is_refused_instead_of_finding_nobody() -> None:
    maps = empty(50, 50)
    maps[0][0, 2, 3] = np.nan
    with pytest.raises(UsageError, match="salience network yields values that are not finite"):
        find_windows(maps, 50, 50)


def test_the_mask_is_1_in_the_middle_and_falls_to_0_at_the_edges() -> None:
    values = mask(20)
    np.testing.assert_array_equal(values[3:17], 1)
    # a raised cosine at 1/6, 3/6 and 5/6 of its way
    expected = [0.5 - 0.5 * math.cos(math.pi * t) for t in (1 / 6, 3 / 6, 5 / 6)]
    np.testing.assert_allclose(values[:3], expected, rtol=1e-5)
    np.testing.assert_allclose(values, values[::-1], rtol=1e-6)
    assert values.dtype == np.float32
    assert mask(1).tolist() == [1.0]
