"""What is said about a written file: exact over all pixels where a bound is promised."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image
from skimage import color

from anti_i2v.errors import UsageError
from anti_i2v.imaging import measure as measuring
from anti_i2v.imaging.measure import Measurement, measure


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(20, 230, (height, width, channels), dtype=np.uint8)


def test_one_pixel_among_many_is_found_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "STRIP", 100)
    before, after = noise(41, 50), noise(41, 50)
    after[40, 49, 1] -= 7
    photo, moved = Image.fromarray(before), Image.fromarray(after)
    found = measure(photo, moved, moved, lossy=False, epsilon=8, notes=("note",))
    assert found.steps == 7
    assert found.psnr == pytest.approx(10 * math.log10(255**2 / (49 / (41 * 50 * 3))))
    assert (found.lossy, found.epsilon, found.survived, found.notes) == (False, 8, 1, ("note",))
    same = measure(photo, photo, photo, lossy=True, epsilon=0)
    assert (same.steps, same.psnr, same.delta_e, same.lossy, same.survived) == (0, math.inf, 0, True, 1)


def test_what_survived_is_the_share_of_the_residual_that_is_left() -> None:
    before = noise(300, 400).astype(int)
    residual = np.random.default_rng(1).choice([-8, 8], before.shape)
    photo, protected, halved, gone, turned = (Image.fromarray((before + share * residual).astype(np.uint8)) for share in (0, 1, 0.5, 0, -1))
    for written, share in ((protected, 1), (halved, 0.5), (gone, 0), (turned, -1)):
        assert measure(photo, protected, written, lossy=True, epsilon=8).survived == pytest.approx(share, abs=1e-4)
    # What a codec adds by itself has nothing to do with the residual.
    other = Image.fromarray((before + 0.5 * residual + np.random.default_rng(2).choice([-8, 8], before.shape)).astype(np.uint8))
    assert measure(photo, protected, other, lossy=True, epsilon=8).survived == pytest.approx(0.5, abs=0.02)


def lossless(photo: Image.Image, written: Image.Image) -> Measurement:
    return measure(photo, written, written, lossy=False, epsilon=8)


def test_modes_are_compared_as_rgb_without_alpha() -> None:
    grey = noise(9, 12, 1)[..., 0]
    assert lossless(Image.fromarray(grey), Image.fromarray(grey + 3)).steps == 3
    assert lossless(Image.fromarray(grey), Image.fromarray(grey + 3).convert("RGB")).steps == 3
    colours = noise(9, 12, 4)
    other = colours + np.array([0, 0, 5, 9], np.uint8)
    assert lossless(Image.fromarray(colours), Image.fromarray(other)).steps == 5
    palette = Image.fromarray(colours[..., :3]).quantize(16)
    assert lossless(palette, palette.convert("RGB")).steps == 0


@pytest.mark.filterwarnings("error")
def test_a_palette_with_transparency_is_compared_without_a_warning() -> None:
    photo = Image.fromarray(noise(8, 9)).quantize(16)
    photo.info["transparency"] = bytes([0, 100, *[255] * 14])
    written = photo.convert("RGBA")
    assert measure(photo, written, written, lossy=False, epsilon=8, notes=()).steps == 0


def test_sixteen_bit_grey_is_compared_in_8_bit_steps() -> None:
    deep = noise(9, 12, 1)[..., 0].astype(np.uint16) * 200
    found = lossless(Image.fromarray(deep), Image.fromarray(deep + np.uint16(2 * 257)))
    assert found.steps == pytest.approx(2, abs=1e-3)
    assert found.psnr == pytest.approx(20 * math.log10(255 / 2), abs=1e-2)


def test_the_sample_of_a_large_picture_has_its_mean_colour_difference() -> None:
    before = noise(400, 500).astype(int)
    after = before + np.random.default_rng(1).integers(-8, 9, before.shape)
    a, b = before.astype(np.uint8), after.astype(np.uint8)
    everywhere = color.deltaE_ciede2000(color.rgb2lab(a), color.rgb2lab(b)).mean()
    assert lossless(Image.fromarray(a), Image.fromarray(b)).delta_e == pytest.approx(everywhere, rel=0.01)


def test_another_size_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"size \(3, 2\), not \(2, 2\)"):
        lossless(Image.new("RGB", (2, 2)), Image.new("RGB", (3, 2)))
