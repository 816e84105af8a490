"""What people in a photo get: each by their own window, whatever else the photo shows, as bytes and as tensors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from anti_i2v.imaging.tensors import to_tensor
from anti_i2v.inference import batches, blocks
from anti_i2v.inference.apply import Patch, blend, compute_steps, find_people, protect_photo
from anti_i2v.inference.planes import split
from anti_i2v.inference.torch_backend import TorchBackend
from anti_i2v.inference.windows import Window
from anti_i2v.keys import PUBLIC_KEY
from anti_i2v.protector import Protector
from tests.tiny.generator import smooth, tiny_network
from tests.tiny.people import DiscBackend, middle_face, scene

BACKEND = DiscBackend()
KEY = np.random.default_rng(7).standard_normal(32).astype(np.float32)


def change(photo: Image.Image) -> np.ndarray:
    """What protecting changes, in steps."""
    return np.asarray(protect_photo(BACKEND, photo, 8, PUBLIC_KEY)).astype(int) - np.asarray(photo)


def test_only_the_window_around_a_person_changes() -> None:
    photo = scene(400, 500, (150, 130, 60))
    assert find_people(BACKEND, np.asarray(photo)) == [Window(102, 82, 96, 1.0)]  # 1.6 times 60 around (150, 130)
    changed = change(photo).any(2)
    assert changed[110:190, 90:170].mean() > 0.5
    changed[102:198, 82:178] = False
    assert not changed.any()


def test_what_a_person_gets_does_not_depend_on_another_person_far_away() -> None:
    alone, together = change(scene(400, 500, (150, 130, 60))), change(scene(400, 500, (150, 130, 60), (300, 420, 100)))
    assert np.abs(together[260:340, 380:460]).max() >= 3
    assert np.abs(together[102:198, 82:178] - alone[102:198, 82:178]).max() <= 1


@pytest.mark.parametrize("frame", [(100, 80, 200, 180), (50, 40, 350, 480), (0, 0, 400, 200)])
def test_nor_on_how_much_is_around_them(frame: tuple[int, int, int, int]) -> None:
    top, left, bottom, right = frame
    whole = scene(400, 500, (150, 130, 60))
    cropped = whole.crop((left, top, right, bottom))
    expected, found = change(whole)[102:198, 82:178], change(cropped)[102 - top : 198 - top, 82 - left : 178 - left]
    assert np.abs(expected).max() >= 3
    assert np.abs(found - expected).max() <= 1


def test_nor_on_the_size_at_which_the_photo_is_kept() -> None:
    """Twice as many pixels: the same pattern, twice as wide, but for what is lost in the fine grain around."""
    small, large = scene(300, 400, (150, 130, 60)), scene(300, 400, (150, 130, 60)).resize((800, 600), Image.Resampling.NEAREST)
    once, twice = change(small)[110:190, 90:170], change(large).reshape(300, 2, 400, 2, 3).mean((1, 3))[110:190, 90:170]
    assert np.abs(twice - once).max() <= 1.5
    assert np.corrcoef(once.ravel(), twice.ravel())[0, 1] > 0.98


def test_a_photo_without_people_stays_as_it_is() -> None:
    for photo in (scene(400, 500), scene(2000, 1500), scene(12, 9)):
        assert protect_photo(BACKEND, photo, 8, PUBLIC_KEY).tobytes() == photo.tobytes()
    network = tiny_network()
    torch.nn.init.constant_(network.salience.head.bias, -4.0)  # type: ignore[arg-type]
    image = to_tensor(smooth(0))[None]
    assert torch.equal(Protector(network)(image), image)
    assert Protector(network).protect(smooth(0)).tobytes() == smooth(0).tobytes()


@pytest.mark.parametrize("lying", [False, True])
def test_a_large_photo_changes_in_blocks_where_its_people_are(lying: bool) -> None:
    upright = scene(1500, 2001, (700, 1300, 300))
    photo = upright
    if lying:
        photo = upright.transpose(Image.Transpose.ROTATE_90)
        photo.getexif()[274] = 6
    found = find_people(BACKEND, split(upright, (3, 3)).colour)
    windows = [window.scaled(3) for window in found]
    assert [abs(v - e) <= 3 for w in windows for v, e in zip((w.top, w.left, w.side), (460, 1060, 480), strict=True)] == [True] * 3
    assert blocks.block_of(photo.size, [window.side for window in windows])[0] in (2, 3)
    exact = np.asarray(protect_photo(BACKEND, photo, 8, PUBLIC_KEY, (1, 1))).astype(int) - np.asarray(photo)
    residual = change(photo)
    assert np.abs(exact).max() >= 3
    assert np.abs(residual - exact).max() <= 3
    assert np.corrcoef(residual.ravel(), exact.ravel())[0, 1] > 0.98


WINDOWS = [
    Window(10, 20, 40, 1.0),
    Window(25, 35, 30, 0.4),  # over the first, at less strength
    Window(-20, 60, 50, 1.0),  # beyond the upper and the right edge
    Window(60, -30, 45, 0.7),  # beyond the left edge
    Window(-50, 10, 20, 1.0),  # outside of the photo, on each side
    Window(10, -40, 20, 1.0),
    Window(90, 10, 20, 1.0),
    Window(10, 140, 20, 1.0),
]


@pytest.mark.parametrize("epsilon", [3.0, 16.0])
@pytest.mark.parametrize("space", ["dual", "rgb"])
def test_tensors_get_what_files_get_in_windows_of_any_place_and_strength(epsilon: float, space: str) -> None:
    protector = Protector(tiny_network(backbone="test_resnet", keyed=True, space=space).eval())
    photo = Image.fromarray(data.astronaut()).resize((96, 80))
    pixels = np.asarray(photo)
    of_bytes = compute_steps(TorchBackend(protector.generator), pixels, pixels, WINDOWS, np.float32(epsilon), KEY)
    image = to_tensor(photo)[None]
    with torch.no_grad():
        tensors = protector(image.repeat(2, 1, 1, 1), epsilon, torch.from_numpy(np.stack((KEY, KEY))), [[], WINDOWS])
    assert torch.equal(tensors[:1], image)  # the other photo of the batch has no window
    steps = tensors[1].mul(255).round().permute(1, 2, 0).numpy() - pixels
    apart = np.abs(steps - of_bytes)
    assert np.abs(steps).max() >= min(3, epsilon)
    assert apart.max() <= 1
    assert (apart > 0).sum() <= 3 + 1e-3 * apart.size


def fade(pixels: float, side: int) -> float:
    """The mask so far from a window's edge, in the outer 15 % of its side."""
    return 0.5 - 0.5 * math.cos(math.pi * pixels / side / 0.15)


def test_fields_that_overlap_are_added_and_are_together_as_strong_as_one() -> None:
    windows, values = [Window(0, 0, 32, 1.0), Window(0, 8, 32, 0.5)], (1.0, 3.0)
    colour = np.full((32, 48, 3), 128, np.uint8)
    fields = [{"rgb": np.full((3, 1, 1), value, np.float32)} for value in values]
    patches = [Patch.of(window, field, 32, 48) for window, field in zip(windows, fields, strict=True)]
    of_bytes = blend(patches, colour, 0, 0, np.float32(4)) * 255 / 4
    parameters = {"rgb": torch.tensor(values).view(2, 1, 1, 1).expand(2, 3, 1, 1)}
    of_tensors = batches.lay(torch.full((1, 3, 32, 48), 0.5), [windows], parameters, torch.tensor([4.0]))[0].numpy() * 255 / 4
    second = 0.5 * fade(1.5, 32)  # the mask of the second window at column 9
    for column, expected in (
        (2, fade(2.5, 32)),  # the first alone, near its edge
        (20, (1 + 3 * 0.5) / math.sqrt(1 + 0.25)),  # both masks are 1 here, the second's strength is a half
        (9, (1 + 3 * second) / math.sqrt(1 + second**2)),
        (36, 3 * 0.5 * fade(3.5, 32)),  # the second alone: less than 1 is not made more
        (44, 0),
    ):
        assert of_bytes[:, 16, column] == pytest.approx([expected] * 3, abs=1e-5)
        assert of_tensors[:, 16, column] == pytest.approx([expected] * 3, abs=1e-5)
    strips = np.concatenate([blend(patches, colour[top : top + 8], top, 0, np.float32(4)) for top in range(0, 32, 8)], axis=1)
    np.testing.assert_allclose(strips * 255 / 4, of_bytes, rtol=1e-6)


def test_all_windows_of_a_batch_are_cut_out_in_order_and_go_on_beyond_the_frame() -> None:
    image = torch.arange(2 * 3 * 4 * 5).view(2, 3, 4, 5).float()
    windows = [[Window(1, 2, 2, 1.0)], [Window(0, 0, 4, 1.0), Window(-1, 3, 4, 1.0)]]
    assert torch.equal(batches.cut(image, [*windows[:1], []], 2), image[:1, :, 1:3, 2:4])
    parts = batches.cut(image, windows, 4)
    assert torch.equal(parts[1], image[1, :, :4, :4])
    assert torch.equal(parts[2], image[1][:, [0, 0, 1, 2]][:, :, [3, 4, 4, 4]])
    assert batches.photo_of(windows, image.device).tolist() == [0, 1, 1]
    assert batches.cut(image, [[], []], 4).shape == (0, 3, 4, 4)


def test_people_are_found_alike_in_files_and_tensors() -> None:
    class Finder(torch.nn.Module):
        def forward(self, copies: torch.Tensor) -> torch.Tensor:
            return torch.stack([torch.from_numpy(BACKEND.find(copy.numpy())) for copy in copies])

    photos = [scene(200, 300, (60, 70, 50), (140, 200, 90)), scene(200, 300, (100, 30, 40))]
    found = batches.find_people(Finder(), torch.stack([to_tensor(photo) for photo in photos]))
    assert found == [find_people(BACKEND, np.asarray(photo)) for photo in photos]
    assert [len(those) for those in found] == [2, 1]


def test_the_key_reaches_the_network_and_decides_the_pattern() -> None:
    class OneFace(TorchBackend):
        find = staticmethod(middle_face)  # type: ignore[assignment]

    photo = smooth(3, 64, 64)
    keyed, plain = (OneFace(tiny_network(backbone="test_resnet", keyed=keyed)) for keyed in (True, False))
    first, second = (
        np.asarray(protect_photo(keyed, photo, 8, secret)).astype(int) - np.asarray(photo) for secret in (b"a" * 16, b"b" * 16)
    )
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.98
    assert protect_photo(plain, photo, 8, b"a" * 16).tobytes() == protect_photo(plain, photo, 8, b"b" * 16).tobytes()
