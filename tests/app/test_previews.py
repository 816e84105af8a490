"""The small pictures that the page shows."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from anti_i2v.app import previews
from anti_i2v.imaging.reading import read_photo
from tests.tiny.photos import SRGB, exif, smooth


def reread(image: Image.Image, format: str, **options: object) -> Image.Image:
    file = io.BytesIO()
    image.save(file, format, **options)
    return read_photo(io.BytesIO(file.getvalue()), "photo")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_shown_the_right_way_up(orientation: int) -> None:
    photo = reread(smooth("RGB"), "PNG", exif=exif(orientation))
    upright = ImageOps.exif_transpose(photo)
    assert np.array_equal(np.asarray(previews.preview(photo)), np.asarray(upright))
    assert previews.upright_size(photo) == upright.size
    assert previews.residual(photo, photo).size == upright.size


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_every_kind_of_photo_can_be_shown(mode: str) -> None:
    photo = reread(smooth(mode), "TIFF" if mode == "CMYK" else "PNG")
    file = io.BytesIO()
    previews.preview(photo).save(file, "JPEG")
    shown = np.asarray(previews.preview(photo).convert("L"), dtype=int)
    grey = np.asarray(smooth("RGB").convert("L"), dtype=int)
    if mode not in ("1", "RGBA", "LA"):
        assert np.abs(shown - grey).mean() < 8  # CMYK and palettes change colours a little


def test_what_is_transparent_is_white() -> None:
    photo = reread(Image.new("RGBA", (4, 4), (10, 20, 30, 0)), "PNG")
    assert previews.preview(photo).getpixel((0, 0)) == (255, 255, 255)


def test_a_large_photo_is_shown_small_and_a_small_one_as_it_is() -> None:
    assert previews.preview(Image.new("RGB", (3200, 800))).size == (1600, 400)
    assert previews.preview(Image.new("RGB", (30, 20))).size == (30, 20)


def test_the_residual_is_ten_times_as_strong_around_grey() -> None:
    before = Image.new("RGB", (8, 8), (100, 100, 100))
    after = Image.new("RGB", (8, 8), (108, 100, 97))
    assert previews.residual(before, after).getpixel((3, 3)) == (208, 128, 98)
    assert previews.residual(after, before).getpixel((3, 3)) == (48, 128, 158)


def test_a_residual_of_one_step_is_seen_in_a_small_picture_too() -> None:
    pixels = np.full((2, 3200, 3), 100, np.uint8)
    pixels[:, ::2] += 1  # half a step on average
    shown = np.asarray(previews.residual(Image.new("RGB", (3200, 2), (100,) * 3), Image.fromarray(pixels)))
    assert shown.shape == (1, 1600, 3)
    assert (shown == 133).all()


def test_the_colour_profile_goes_along(tmp_path: Path) -> None:
    photo = reread(smooth("RGB"), "JPEG", icc_profile=SRGB, exif=exif(6))
    with Image.open(previews.save(previews.preview(photo), tmp_path / "a.jpg")) as saved:
        assert saved.info["icc_profile"] == SRGB
    with Image.open(previews.save(previews.residual(photo, photo), tmp_path / "b.jpg")) as saved:
        assert "icc_profile" not in saved.info
