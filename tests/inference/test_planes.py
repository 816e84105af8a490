"""Taking a photo apart and putting it together again is the identity, and orientation follows Pillow's own."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from anti_i2v.errors import UsageError
from anti_i2v.inference.planes import Split, is_grey, split
from tests.tiny import profiles as tiny_profiles
from tests.tiny.profiles import ADOBE_RGB, DISPLAY_P3, SRGB


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


def unchanged(parts: Split) -> Image.Image:
    return parts.join(np.zeros(parts.stored.shape, np.int8))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "CMYK", "I;16"])
def test_join_undoes_split(mode: str) -> None:
    photo = noise(mode)
    parts = split(photo)
    back = unchanged(parts)
    assert (back.mode, back.size) == (photo.mode, photo.size)
    assert back.tobytes() == photo.tobytes()
    assert parts.colour.shape == (5, 7, 3)


@pytest.mark.parametrize(("mode", "still"), [("RGB", 0), ("RGBA", 1), ("L", 0), ("LA", 1), ("CMYK", 1)])
def test_steps_change_colours_toward_light_and_leave_alpha_and_black(mode: str, still: int) -> None:
    photo = noise(mode)
    before = np.atleast_3d(np.asarray(photo)).astype(int)
    parts = split(photo, (2, 3))  # 7 × 5 pixels: 4 × 2 blocks
    assert parts.stored.shape == (2, 4, before.shape[2] - still)
    changed = np.atleast_3d(np.asarray(parts.join(np.full(parts.stored.shape, 4, np.int8))))
    toward = -4 if mode == "CMYK" else 4  # more ink is darker
    colours = before.shape[2] - still
    np.testing.assert_array_equal(changed[..., :colours], np.clip(before[..., :colours] + toward, 0, 255))
    np.testing.assert_array_equal(changed[..., colours:], before[..., colours:])


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
    assert unchanged(split(palette)).mode == "RGB"
    palette.info["transparency"] = 3
    clear = unchanged(split(palette))
    np.testing.assert_array_equal(np.asarray(clear), np.asarray(palette.convert("RGBA")))
    assert "transparency" not in clear.info
    assert split(noise("L").convert("1")).stored.shape == (5, 7, 1)
    keyed = noise("RGB")
    keyed.info["transparency"] = keyed.getpixel((2, 1))
    alpha = np.asarray(unchanged(split(keyed)))[..., 3]
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
    back = unchanged(split(photo))
    assert back.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(back), np.asarray(photo.convert("RGB")))


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("block", [(1, 1), (2, 3)])
def test_a_grey_photo_stored_in_colours_moves_in_one_plane(mode: str, block: tuple[int, int]) -> None:
    photo = noise("L").convert(mode)
    parts = split(photo, block)
    assert parts.stored.shape[2] == 1
    steps = np.random.default_rng(1).integers(-8, 9, parts.stored.shape).astype(np.int8)
    changed = np.asarray(parts.join(steps))
    assert (changed[..., 0] == changed[..., 1]).all()
    assert (changed[..., 2] == changed[..., 1]).all()
    wide = np.kron(steps[..., 0], np.ones((block[1], block[0]), int))[:5, :7]
    np.testing.assert_array_equal(changed[..., 0], np.clip(np.asarray(photo).astype(int)[..., 0] + wide, 0, 255))
    if mode == "RGBA":
        assert (changed[..., 3] == 255).all()


@pytest.mark.parametrize(("mode", "channel"), [("RGB", 0), ("RGB", 1), ("RGB", 2), ("RGBA", 0), ("RGBA", 2)])
@pytest.mark.parametrize("place", [(0, 0), (299, 399), (150, 7)])
def test_one_coloured_pixel_makes_a_photo_of_colours(mode: str, channel: int, place: tuple[int, int]) -> None:
    pixels = np.array(noise("L", 400, 300).convert(mode))
    pixels[150, 7, :3] = pixels[0, 0, :3] = pixels[299, 399, :3] = 100
    pixels[..., 3:] = np.arange(400)[None, :, None] % 256  # alpha may be anything
    assert is_grey(Image.fromarray(pixels))
    pixels[(*place, channel)] = 102
    assert not is_grey(Image.fromarray(pixels))
    assert split(Image.fromarray(pixels), (4, 4)).stored.shape[2] == 3


@pytest.mark.parametrize("how", [("JPEG", 40), ("JPEG", 95), ("AVIF", 60), ("WEBP", 30), ("WEBP", 100)])
def test_grey_files_are_grey_whatever_their_format(how: tuple[str, int]) -> None:
    """Of a lossy WebP, some pixels have a green one step less: that tint of the file stays."""
    content = io.BytesIO()
    soft = Image.linear_gradient("L").rotate(30).resize((90, 70))
    soft.convert("RGB").save(content, how[0], quality=how[1])
    photo = Image.open(content)
    parts = split(photo)
    assert parts.stored.shape == (70, 90, 1)
    before = np.asarray(photo.convert("RGB")).astype(int)
    change = np.asarray(parts.join(np.full((70, 90, 1), 3, np.int8))) - before
    assert (change[before <= 252] == 3).all()


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colours_are_seen_in_srgb_and_changed_in_their_own_space(mode: str) -> None:
    photo = Image.new(mode, (4, 4), (117, 251, 76, 50)[: len(mode)])
    photo.info["icc_profile"] = DISPLAY_P3
    parts = split(photo, (2, 2))
    assert parts.stored.shape == (2, 2, 3)
    assert parts.stored[0, 0].tolist() == [117, 251, 76]
    assert np.abs(parts.colour.astype(int) - (0, 255, 0)).max() <= 4  # the green of sRGB, in Display P3
    changed = parts.join(np.full((2, 2, 3), -2, np.int8))
    assert changed.getpixel((0, 0)) == (115, 249, 74, 50)[: len(mode)]
    assert changed.info["icc_profile"] == DISPLAY_P3


def test_a_profile_of_srgb_or_a_broken_one_changes_nothing() -> None:
    photo = noise("RGB")
    plain = split(photo).colour
    for profile in (SRGB, b"profile", ADOBE_RGB[:300]):
        photo.info["icc_profile"] = profile
        np.testing.assert_array_equal(split(photo).colour, plain)


def test_grey_and_print_colours_are_seen_by_their_profile() -> None:
    photo = Image.new("L", (2, 2), 128)
    photo.info["icc_profile"] = tiny_profiles.grey(1.8)
    assert split(photo).colour[0, 0].tolist() == [146, 146, 146]  # see test_profiles
    deep = Image.fromarray(np.full((2, 2), 128 * 257, np.uint16))
    deep.info["icc_profile"] = tiny_profiles.grey(1.8)
    assert split(deep).colour[0, 0].tolist() == [146, 146, 146]
    ink = Image.new("CMYK", (2, 2), (0, 255, 0, 0))
    ink.info["icc_profile"] = tiny_profiles.inks([(255, 128, 128)] * 4 + [(136, 208, 195)] * 4 + [(255, 128, 128)] * 8)
    parts = split(ink)
    assert np.abs(parts.colour.astype(int) - (255, 0, 0)).max() <= 8
    assert parts.stored[0, 0].tolist() == [255, 0, 255]
