"""Faces in a real photo, where dlib is installed, and what is said where it is not."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from PIL import Image

from anti_i2v.errors import UsageError
from anti_i2v.imaging.detection import FaceDetector, from_dlib

PARTS = np.array([[40.0, 70.0], [40.0, 60.0], [40.0, 30.0], [40.0, 40.0], [62.0, 50.0]])
"""The corners of the eye on the right and of that on the left, and the base of the nose, of an upright face: y, x."""


def test_our_points_of_dlibs() -> None:
    left, right, nose, mouth_left, mouth_right = from_dlib(PARTS)
    assert left == pytest.approx([39, 35], abs=2)
    assert right == pytest.approx([39, 65], abs=2)
    assert 50 < nose[0] < 62  # its tip is above its base
    assert nose[1] == pytest.approx(50, abs=1)
    assert mouth_left[0] == pytest.approx(mouth_right[0], abs=1)
    assert mouth_left[0] > 66
    assert mouth_left[1] < 40 < 60 < mouth_right[1]
    np.testing.assert_allclose(from_dlib(2 * PARTS + 7), 2 * from_dlib(PARTS) + 7)  # wherever and however large it is
    assert bool(np.isfinite(from_dlib(np.ones((5, 2)))).all())


@pytest.mark.parametrize("package", ["dlib", "face_recognition_models"])
def test_without_the_extra_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find(name) or find("json"))
    with pytest.raises(UsageError, match=r"finding faces in photos needs .* not installed; pip install 'anti-i2v\[faces\]'"):
        FaceDetector()


def test_finds_the_one_face_of_a_photo() -> None:
    pytest.importorskip("dlib", reason="needs anti-i2v[faces]")
    from skimage import data

    detector, photo = FaceDetector(), Image.fromarray(data.astronaut())
    (face,) = detector(photo)
    expected = [[100, 204], [103, 246], [125, 223], [145, 207], [147, 240]]  # read off the photo
    assert float(np.abs(face - expected).max()) < 8
    assert detector(Image.fromarray(data.coffee())) == []
    both = Image.new("RGB", (1024, 512))
    both.paste(photo, (0, 0))
    both.paste(photo.resize((400, 400)), (560, 60))
    large, small = detector(both)
    assert float(np.abs(large - face).max()) < 3
    assert float(np.abs(small - (face * (400 / 512) + (60, 560))).max()) < 5
