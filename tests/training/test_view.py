"""What an adversary cuts out of a photo, and where training looks for people: boxes worked out by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from anti_i2v.errors import UsageError
from anti_i2v.inference.windows import Window
from anti_i2v.training.view import View, around, draw_view, jitter

FACE = [Window(60, 100, 80, 1.0)]  # a face of 50 pixels around (100, 140)


def boxes(view: View, windows: list[list[Window]], size: tuple[int, int] = (200, 300), seed: int = 0) -> torch.Tensor:
    return view.sample(windows, *size, torch.Generator().manual_seed(seed))


def test_a_view_is_a_square_around_a_person() -> None:
    found = boxes(View(face=(0.5, 0.5), place=0.0, whole=0.0), [FACE])
    assert found.tolist() == [[100, 140, 100, 100]]  # a face of 50 pixels is half of a side of 100


def test_its_scale_and_place_stay_within_what_is_asked_for() -> None:
    found = boxes(View(face=(0.4, 0.8), place=0.2, whole=0.0), [FACE] * 500)
    share = 50 / found[:, 2]
    assert torch.equal(found[:, 2], found[:, 3])
    assert 0.4 <= share.min() < 0.41 < 0.79 < share.max() <= 0.8
    for axis, centre in ((0, 100), (1, 140)):
        away = found[:, axis] - centre
        assert -10 <= away.min() < -9.5  # a fifth of 50
        assert 9.5 < away.max() <= 10


def test_a_view_stays_within_the_photo() -> None:
    wide = View(face=(0.5, 0.5), place=0.0, whole=0.0)
    assert boxes(wide, [[Window(-40, -30, 80, 1.0)]]).tolist() == [[50, 50, 100, 100]]  # a face around (0, 10) at the edge
    assert boxes(View(face=(0.1, 0.1), place=0.0, whole=0.0), [FACE]).tolist() == [[100, 140, 200, 200]]  # not 500


def test_some_views_are_the_whole_photo_and_all_where_nobody_is() -> None:
    whole = [100.0, 150.0, 200.0, 300.0]
    assert boxes(View(whole=0.0), [[], FACE])[0].tolist() == whole
    assert boxes(View(whole=1.0), [FACE]).tolist() == [whole]
    share = (boxes(View(whole=0.25), [FACE] * 1000)[:, 3] == 300).float().mean()
    assert float(share) == pytest.approx(0.25, abs=0.05)


def test_every_person_gets_views() -> None:
    people = [Window(60, 20, 80, 1.0), Window(60, 200, 80, 1.0)]
    left = (boxes(View(face=(0.5, 0.5), place=0.0, whole=0.0), [people] * 200)[:, 1] < 150).float().mean()
    assert 0.4 < float(left) < 0.6


def test_the_whole_photo_at_its_own_size_is_the_photo() -> None:
    image = F.interpolate(torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0)), (32, 32), mode="bilinear")
    found = View(size=32, whole=1.0)(image, torch.tensor([[16.0, 16.0, 32.0, 32.0]]))
    torch.testing.assert_close(found, image, atol=0.02, rtol=0)  # each pixel is the mean of four points within it


def test_a_view_shows_what_is_in_its_box() -> None:
    image = torch.zeros(2, 3, 40, 60)
    image[0, :, 10:20, 30:40] = torch.tensor([1.0, 0.5, 0.25]).view(3, 1, 1)
    image[1, :, 20:30] = 1.0
    found = View(size=8)(image, torch.tensor([[15.0, 35.0, 10.0, 10.0], [20.0, 10.0, 20.0, 20.0]]))
    assert found.shape == (2, 3, 8, 8)
    torch.testing.assert_close(found[0, :, 1:7, 1:7], torch.tensor([1.0, 0.5, 0.25]).view(3, 1, 1).expand(3, 6, 6))
    assert found[1, :, :3].max() == 0  # rows 10 to 20 above, rows 20 to 30 below
    torch.testing.assert_close(found[1, :, 5:], torch.ones(3, 3, 8))


def test_gradient_reaches_the_box_and_nothing_else() -> None:
    image = torch.rand(1, 3, 40, 60, generator=torch.Generator().manual_seed(0), requires_grad=True)
    View(size=16)(image, torch.tensor([[15.0, 35.0, 10.0, 10.0]])).sum().backward()
    assert image.grad is not None
    assert (image.grad[:, :, 11:19, 31:39] > 0).all()
    outside = image.grad.clone()
    outside[:, :, 9:21, 29:41] = 0
    assert not outside.any()


def test_windows_around_known_faces() -> None:
    faces = torch.tensor([[[100.0, 140.0, 50.0], [20.0, 30.0, 20.0]], [[50.0, 60.0, 10.0], [0.0, 0.0, 0.0]]])
    expected = [[Window(60, 100, 80, 1.0), Window(4, 14, 32, 1.0)], [Window(42, 52, 16, 1.0)]]
    assert around(faces) == expected


def test_jitter_moves_and_scales_by_up_to_a_share_of_the_side() -> None:
    windows = [[Window(60, 100, 200, 0.5)] * 500]
    assert jitter(windows, 0.0, torch.Generator()) == windows
    moved = jitter(windows, 0.1, torch.Generator().manual_seed(0))[0]
    sides = [window.side for window in moved]
    centres = [(window.top + window.side / 2, window.left + window.side / 2) for window in moved]
    assert {min(sides), max(sides)} <= {*range(180, 183), *range(218, 221)}
    for axis, centre in enumerate((160, 200)):
        away = [place[axis] - centre for place in centres]
        assert -21 <= min(away) < -18
        assert 18 < max(away) <= 21
    assert {window.strength for window in moved} == {0.5}
    assert jitter([[], [Window(0, 0, 1, 1.0)]], 0.1, torch.Generator())[0] == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 4}, "size of a view is 4; give at least 8 pixels"),
        ({"face": (0.9, 0.5)}, r"face \(0\.9, 0\.5\) must be a smallest and a largest share within 0\.05–2"),
        ({"place": 1.5}, r"place 1\.5 and whole 0\.25 must be between 0 and 1"),
        ({"whole": -0.1}, r"whole -0\.1 must be between 0 and 1"),
    ],
)
def test_impossible_views_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        View(**settings)  # type: ignore[arg-type]


def test_landmarks_follow_the_view_of_the_person_that_it_is_of() -> None:
    people = [Window(60, 20, 80, 1.0), Window(60, 200, 80, 1.0)]
    points = torch.tensor([[90.0, 0.0], [90.0, 20.0], [100.0, 10.0], [110.0, 0.0], [110.0, 20.0]])
    nobody = torch.full((5, 2), torch.nan)
    landmarks = torch.stack([torch.stack([points + torch.tensor([0.0, x]) for x in (50, 230)]), torch.stack([nobody, nobody])])
    landmarks = torch.cat([landmarks[:1]] * 20 + [landmarks[1:]])
    picture = torch.zeros(21, 3, 200, 300)
    look = draw_view(View(size=50, whole=0.3), picture, [people] * 20 + [[]], torch.Generator().manual_seed(0))
    seen = look.landmarks(landmarks)
    assert set(look.people[:20]) == {0, 1}
    for row, person in enumerate(look.people[:20]):
        y, x = (int(v) for v in landmarks[row, person, 2])
        picture[row, :, y - 3 : y + 3, x - 3 : x + 3] = 1.0
    for row, view in enumerate(look(picture)[:20]):
        weights = view[0] / view[0].sum()
        at = [float((weights.sum(1 - axis) * (torch.arange(50) + 0.5)).sum()) for axis in (0, 1)]
        assert seen[row, 2].tolist() == pytest.approx(at, abs=0.2)
    assert bool(seen[20].isnan().all())
    whole = draw_view(None, picture, [people] * 21, torch.Generator()).landmarks(landmarks)
    assert torch.equal(whole[0], landmarks[0, 0])
