"""Colours by code points and by PNG's gamma and primaries: published values of each curve, and what changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from anti_i2v.inference.code_points import CURVES, PRIMARIES
from anti_i2v.inference.colours import to_srgb, unknown_points
from anti_i2v.inference.planes import split
from tests.tiny.profiles import ADOBE_RGB


def shown(info: dict[str, object], *value: int, mode: str = "RGB") -> tuple[int, ...]:
    """What is seen of one colour."""
    image = to_srgb(Image.new(mode, (2, 2), value if len(value) > 1 else value[0]), info)  # type: ignore[arg-type]
    assert image.mode == "RGB"
    return tuple(np.asarray(image)[1, 1].tolist())


@pytest.mark.parametrize(
    ("points", "value", "srgb"),
    [
        # ST 2084: 58 % of the signal are 203 cd/m², white; 77 / 255 are 10 cd/m², 0.0494 of white, which sRGB writes as 0.2465.
        ("09100001", (148, 148, 148), (255, 255, 255)),
        ("09100001", (77, 77, 77), (63, 63, 63)),
        ("09100001", (255, 255, 255), (255, 255, 255)),
        # BT.2100: 75 % of HLG are 203 of 1000 cd/m²; half the signal is 1/12 of the scene's light, (1/12)^1.2 · 1000 / 203 = 0.25 of white.
        ("09120001", (191, 191, 191), (254, 254, 254)),
        ("09120001", (128, 128, 128), (137, 137, 137)),
        # The green and red of sRGB in Display P3, as published, and a red that sRGB has not.
        ("0c0d0001", (117, 251, 76), (0, 255, 0)),
        ("0c0d0001", (255, 0, 0), (255, 0, 0)),
        # BT.2087: sRGB's red is 0.627, 0.069, 0.016 of BT.2020's light.
        ("09080001", (160, 18, 4), (255, 0, 0)),
        # 128 / 255 of light is 0.7357 as sRGB writes it; (128 / 255)^2.2 and ^2.8 are 0.2195 and 0.1451, 0.506 and 0.418.
        ("01080001", (128, 128, 128), (188, 188, 188)),
        ("01040001", (128, 128, 128), (129, 129, 129)),
        ("01050001", (128, 128, 128), (107, 107, 107)),
        # Of a narrow range, black is 16 and white 235.
        ("010d0000", (16, 235, 255), (0, 255, 255)),
        # Illuminant C's white is white, whatever the primaries.
        ("04080001", (255, 255, 255), (255, 255, 255)),
        ("0a080001", (0, 0, 0), (0, 0, 0)),
    ],
)
def test_colours_are_those_of_the_standards(points: str, value: tuple[int, ...], srgb: tuple[int, ...]) -> None:
    info = {"cicp": bytes.fromhex(points)}
    assert unknown_points(info) == ""
    assert np.abs(np.subtract(shown(info, *value), srgb)).max() <= (8 if points == "09080001" else 3)


@pytest.mark.parametrize("primaries", PRIMARIES)
@pytest.mark.parametrize("curve", CURVES)
def test_more_signal_is_never_darker(primaries: int, curve: int) -> None:
    ramp = Image.linear_gradient("L").resize((4, 256))
    seen = np.asarray(to_srgb(ramp, {"cicp": bytes((primaries, curve, 0, 1))})).astype(int)[:, 0]
    assert (np.diff(seen[:, 1]) >= 0).all()
    assert seen[0].max() <= 2
    assert seen[-1, 1] >= 250


@pytest.mark.parametrize("points", ["010d0001", "01010001", "02020001", "01060001"])
def test_code_points_of_srgb_change_nothing(points: str) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype=np.uint8))
    assert to_srgb(picture, {"cicp": bytes.fromhex(points)}) is picture


@pytest.mark.parametrize("points", ["03100001", "09000001", "09130001", "09100101", "09100002", "ffffffff"])
def test_reserved_code_points_are_seen_as_srgb_and_named(points: str) -> None:
    info = {"cicp": bytes.fromhex(points)}
    assert shown(info, 50, 100, 150) == (50, 100, 150)
    assert unknown_points(info) == ", ".join(str(byte) for byte in bytes.fromhex(points))


def test_code_points_come_before_the_profile_and_the_profile_before_gamma() -> None:
    assert shown({"cicp": bytes((1, 8, 0, 1)), "icc_profile": ADOBE_RGB}, 128, 128, 128)[0] == 188
    assert np.abs(np.subtract(shown({"icc_profile": ADOBE_RGB, "gamma": 1.0}, 144, 255, 60), (0, 255, 0))).max() <= 4
    assert shown({"srgb": 0, "gamma": 1.0}, 128, 128, 128) == (128, 128, 128)


def test_gamma_and_primaries_of_a_png_are_heeded_and_nonsense_is_passed_over() -> None:
    assert shown({"gamma": 1.0}, 128, mode="L") == (188, 188, 188)
    display_p3 = (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
    assert np.abs(np.subtract(shown({"chromaticity": display_p3}, 117, 251, 76), (0, 255, 0))).max() <= 4
    for nonsense in ((0.0,) * 8, (42949.0,) * 8, (0.3,) * 7, "text", (0.3127, 0.329) * 4):
        assert shown({"gamma": 0.0, "chromaticity": nonsense}, 117, 251, 76) == (117, 251, 76)


def test_a_picture_of_many_strips_is_seen_as_pixel_by_pixel() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (700, 300, 3), dtype=np.uint8)
    info = {"cicp": bytes((9, 18, 0, 1))}
    seen = np.asarray(to_srgb(Image.fromarray(pixels), info))
    for y, x in ((0, 0), (218, 299), (219, 0), (699, 150)):
        assert tuple(seen[y, x]) == shown(info, *pixels[y, x].tolist())


def test_deep_grey_is_seen_through_its_curve_and_changed_in_its_own_values() -> None:
    photo = Image.fromarray(np.full((2, 2), 77 * 257, np.uint16))
    photo.info["cicp"] = bytes((9, 16, 0, 1))
    parts = split(photo)
    assert np.abs(parts.colour.astype(int) - 63).max() <= 1  # see above
    assert np.asarray(parts.join(np.full((2, 2, 1), 3, np.int8)))[0, 0] == 80 * 257
