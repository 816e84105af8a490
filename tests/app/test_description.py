"""The description of a protected photo on the page."""

from __future__ import annotations

import math

import pytest

from anti_i2v.app import description
from anti_i2v.app.description import FileFacts
from anti_i2v.imaging.measure import Measurement

BEFORE = FileFacts("JPEG", (4000, 3000), 3_449_000)


def measured(**other: object) -> Measurement:
    values = {"steps": 8.0, "psnr": 38.24, "delta_e": 1.5, "survived": 1.0, "epsilon": 8.0, "lossy": False}
    return Measurement(**{**values, **other})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("delta_e", "said"),
    [
        (0, "Not at all"),
        (0.49, "Not at all"),
        (0.5, "Hardly"),
        (1, "A little"),
        (2, "Yes, if you look for it"),
        (5, "Clearly"),
        (40, "Clearly"),
    ],
)
def test_the_strength_of_the_change_is_described_in_words(delta_e: float, said: str) -> None:
    assert description.visibility(delta_e)[0] == said


@pytest.mark.parametrize(("count", "said"), [(0, "1 kB"), (812_400, "812 kB"), (3_449_000, "3.4 MB"), (200 * 10**6, "200.0 MB")])
def test_sizes_are_formatted_as_in_file_managers(count: int, said: str) -> None:
    assert description.file_size(count) == said


def test_the_description_of_a_lossless_file_names_the_bound_and_the_new_format() -> None:
    told = dict(description.facts(measured(), BEFORE, FileFacts("PNG", (4000, 3000), 9_000_000)))
    assert told["What changed?"] == "The largest change of a colour value is 8 out of 255."
    assert told["The file"] == "4000 × 3000 pixels, as before; JPEG became PNG; 9.0 MB (was 3.4 MB)."
    assert "Please note" not in told


def test_the_description_of_a_jpeg_states_the_share_of_the_protection_that_is_left() -> None:
    told = dict(description.facts(measured(steps=19.0, survived=0.934, lossy=True, notes=("CMYK became RGB",)), BEFORE, BEFORE))
    assert told["What changed?"].endswith("is 19 out of 255; saving as JPEG is part of it. 93% of the protection is in the file.")
    assert "still JPEG" in told["The file"]
    assert told["Please note"] == "CMYK became RGB."


def test_the_description_includes_the_figures() -> None:
    assert "ΔE2000 1.50, PSNR 38.2 dB, epsilon 8/255" in description.figures(measured())
    assert "PSNR infinite" in description.figures(measured(psnr=math.inf))


def test_the_summary_names_what_was_not_protected() -> None:
    assert "1 photo is protected." in description.summary(1, [])
    both = description.summary(2, [("a.jpg", "the file is empty")])
    assert "2 photos are protected." in both
    assert "1 photo was not:" in both
    assert "<b>a.jpg</b>: the file is empty" in both
    assert "No photo was protected." in description.summary(0, [("a.jpg", "?")])


def test_a_file_name_is_never_markup() -> None:
    name = "<img src=http://example.com/x>.jpg"
    for html in (description.summary(0, [(name, name)]), description.table([("Please note", name)], name)):
        assert "<img" not in html
        assert "&lt;img" in html
