"""Colours by their profile: published values of well-known spaces, sRGB left alone, and whatever is found in place of a profile."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageCms

from anti_i2v.inference.profiles import to_srgb
from tests.tiny import profiles as tiny_profiles
from tests.tiny.profiles import ADOBE_RGB, DISPLAY_P3, GAMMA_22, SRGB


def noise(mode: str) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 11, 4), dtype=np.uint8)
    return Image.fromarray(pixels, "CMYK") if mode == "CMYK" else Image.fromarray(pixels[..., :3]).convert(mode)


def shown(mode: str, value: int | tuple[int, ...], profile: bytes) -> tuple[int, ...]:
    picture = to_srgb(Image.new(mode, (2, 2), value), profile)
    assert picture.mode == "RGB"
    return tuple(np.asarray(picture)[1, 1].tolist())


@pytest.mark.parametrize(
    ("profile", "value", "srgb"),
    [
        # The primaries of sRGB in the wider spaces, as published; a red that sRGB has not becomes its own.
        (DISPLAY_P3, (234, 51, 35), (255, 0, 0)),
        (DISPLAY_P3, (117, 251, 76), (0, 255, 0)),
        (DISPLAY_P3, (255, 0, 0), (255, 0, 0)),
        (DISPLAY_P3, (90, 90, 90), (90, 90, 90)),
        (ADOBE_RGB, (219, 0, 0), (255, 0, 0)),
        (ADOBE_RGB, (144, 255, 60), (0, 255, 0)),
        # 128^2.2 = 0.2197 of full light, 1.055 · 0.2197^(1/2.4) − 0.055 = 0.5062.
        (GAMMA_22, (128, 128, 128), (129, 129, 129)),
    ],
)
def test_colours_are_those_of_the_published_spaces(profile: bytes, value: tuple[int, ...], srgb: tuple[int, ...]) -> None:
    assert np.abs(np.subtract(shown("RGB", value, profile), srgb)).max() <= 4


def test_grey_of_another_gamma() -> None:
    # (128 / 255)^1.8 = 0.289 of full light, which sRGB writes as 1.055 · 0.289^(1/2.4) − 0.055 = 0.574.
    assert shown("L", 128, tiny_profiles.grey(1.8)) == (146, 146, 146)


def test_a_grey_picture_may_have_a_profile_of_colours() -> None:
    # (64 / 255)^2.2 = 0.0478 of full light, 0.2425 as sRGB writes it.
    assert np.abs(np.subtract(shown("L", 64, GAMMA_22), 62)).max() <= 1


def test_inks_mix_as_their_profile_says() -> None:
    paper, ink = (255, 128, 128), (136, 208, 195)  # white; sRGB's red, L* 53, a* 80, b* 67
    corners = [paper] * 4 + [ink] * 4 + [paper] * 8  # magenta alone, with and without yellow and black
    profile = tiny_profiles.inks(corners)
    assert np.abs(np.subtract(shown("CMYK", (0, 255, 0, 0), profile), (255, 0, 0))).max() <= 8
    assert np.abs(np.subtract(shown("CMYK", (0, 0, 0, 0), profile), 255)).max() <= 1
    assert Image.new("CMYK", (1, 1), (0, 255, 0, 0)).convert("RGB").getpixel((0, 0)) == (255, 0, 255)


@pytest.mark.parametrize("profile", [SRGB, ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()])
def test_a_profile_of_srgb_changes_nothing(profile: bytes) -> None:
    picture = noise("RGB")
    assert to_srgb(picture, profile) is picture
    grey = noise("L")
    assert to_srgb(grey, profile).tobytes() == grey.convert("RGB").tobytes()


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize(
    "profile",
    [
        None,
        b"",
        b"profile",
        "text",
        7,
        DISPLAY_P3[:200],
        DISPLAY_P3[:16] + b"CMYK" + DISPLAY_P3[20:],
        tiny_profiles.grey(1.8)[:140],
        bytes(500),
    ],
)
def test_what_is_no_profile_of_these_values_is_passed_over(mode: str, profile: object) -> None:
    picture = noise(mode)
    assert to_srgb(picture, profile).tobytes() == picture.convert("RGB").tobytes()


def test_a_damaged_profile_never_ends_in_a_traceback() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        wounded = bytearray(tiny_profiles.grey(1.8) if rng.random() < 0.5 else ADOBE_RGB)
        for place in rng.integers(0, len(wounded), 4):
            wounded[place] = rng.integers(256)
        for mode in ("RGB", "L"):
            assert to_srgb(noise(mode), bytes(wounded)).mode == "RGB"
