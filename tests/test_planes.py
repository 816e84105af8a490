"""Taking a photo apart and putting it together again is the identity, and orientation follows Pillow's own."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageOps

from anti_i2v.errors import UsageError
from anti_i2v.planes import Split, split


def noise(mode: str, width: int = 7, height: int = 5) -> Image.Image:
    rng = np.random.default_rng(0)
    if mode == "I;16":
        return Image.fromarray(rng.integers(0, 65536, (height, width), dtype=np.uint16))
    pixels = rng.integers(0, 256, (height, width, 4), dtype=np.uint8)
    return {
        "L": Image.fromarray(pixels[..., 0]),
        "LA": Image.merge("LA", [Image.fromarray(pixels[..., i]) for i in range(2)]),
        "CMYK": Image.merge("CMYK", [Image.fromarray(pixels[..., i]) for i in range(4)]),
        "RGB": Image.fromarray(pixels[..., :3]),
        "RGBA": Image.fromarray(pixels),
    }[mode]


def unmoved(parts: Split) -> Image.Image:
    return parts.join(np.zeros(parts.stored.shape, np.int8))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "CMYK", "I;16"])
def test_join_undoes_split(mode: str) -> None:
    photo = noise(mode)
    parts = split(photo)
    back = unmoved(parts)
    assert (back.mode, back.size) == (photo.mode, photo.size)
    assert back.tobytes() == photo.tobytes()
    assert parts.colour.shape == (5, 7, 3)


@pytest.mark.parametrize(("mode", "still"), [("RGB", 0), ("RGBA", 1), ("L", 0), ("LA", 1), ("CMYK", 1)])
def test_steps_move_colours_toward_light_and_leave_alpha_and_black(mode: str, still: int) -> None:
    photo = noise(mode)
    before = np.atleast_3d(np.asarray(photo)).astype(int)
    parts = split(photo, (2, 3))  # 7 × 5 pixels: 4 × 2 blocks
    assert parts.stored.shape == (2, 4, before.shape[2] - still)
    moved = np.atleast_3d(np.asarray(parts.join(np.full(parts.stored.shape, 4, np.int8))))
    toward = -4 if mode == "CMYK" else 4  # more ink is darker
    colours = before.shape[2] - still
    np.testing.assert_array_equal(moved[..., :colours], np.clip(before[..., :colours] + toward, 0, 255))
    np.testing.assert_array_equal(moved[..., colours:], before[..., colours:])


def test_the_colour_of_a_block_is_its_mean_whatever_alpha_says() -> None:
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[..., 0] = [[10, 20], [30, 40]]
    pixels[0, 0, 3] = 255  # the others are transparent
    parts = split(Image.fromarray(pixels), (2, 2))
    assert parts.colour.tolist() == [[[25, 0, 0]]]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "CMYK"])
def test_colours_are_those_that_pillow_shows(mode: str) -> None:
    photo = noise(mode)
    np.testing.assert_array_equal(split(photo).colour, np.asarray(photo.convert("RGB")))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_is_what_exif_transpose_shows_and_as_stored_its_inverse(orientation: int) -> None:
    photo = noise("RGB")
    exif = photo.getexif()
    exif[274] = orientation
    photo.info["exif"] = exif.tobytes()
    parts = split(photo)
    upright = parts.upright(parts.colour)
    np.testing.assert_array_equal(upright, np.asarray(ImageOps.exif_transpose(photo)))
    np.testing.assert_array_equal(parts.as_stored(upright), parts.colour)


def test_an_orientation_outside_the_standard_is_ignored() -> None:
    photo = noise("RGB")
    photo.getexif()[274] = 77
    parts = split(photo)
    assert parts.upright(parts.colour) is parts.colour


def test_palettes_bits_and_colour_keys_get_a_mode_that_can_hold_them() -> None:
    palette = noise("RGB").quantize(16)
    assert unmoved(split(palette)).mode == "RGB"
    palette.info["transparency"] = 3
    clear = unmoved(split(palette))
    np.testing.assert_array_equal(np.asarray(clear), np.asarray(palette.convert("RGBA")))
    assert "transparency" not in clear.info
    assert split(noise("L").convert("1")).stored.shape == (5, 7, 1)
    keyed = noise("RGB")
    keyed.info["transparency"] = keyed.getpixel((2, 1))
    alpha = np.asarray(unmoved(split(keyed)))[..., 3]
    assert alpha[1, 2] == 0
    assert (alpha == 0).sum() == 1


@pytest.mark.parametrize("mode", ["I", "F"])
def test_modes_without_a_range_are_refused(mode: str) -> None:
    with pytest.raises(UsageError, match=f"mode '{mode}' has no defined range"):
        split(Image.new(mode, (4, 4)))


def test_an_empty_picture_is_refused() -> None:
    with pytest.raises(UsageError, match="empty"):
        split(Image.new("RGB", (0, 4)))


def test_other_modes_become_rgb() -> None:
    photo = noise("RGB").convert("YCbCr")
    back = unmoved(split(photo))
    assert back.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(back), np.asarray(photo.convert("RGB")))
