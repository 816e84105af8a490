"""Faces and their landmarks in real photos, by dlib: for data that is looked at once, never while training.

Its frontal detector (HOG) and its predictor of five points, CC0, of the package `face-recognition-models`; that package's predictor
of 68 points was trained on pictures for non-commercial use and is never read.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anti_i2v.errors import UsageError

PREDICTOR = "shape_predictor_5_face_landmarks.dat"
LEAST_SCORE = 0.2
"""Score from which a detection counts: dlib's own 0 takes the suit of scikit-image's astronaut for a second face."""
SHORT = 600
"""Photos with a shorter side below this are looked at in twice their size: the detector knows faces from 80 pixels on."""
LONG = 1600
"""Photos with a longer side above this are scaled down before."""

FROM_DLIB = (
    (-0.4884 - 0.0635j, 0.0021 + 0.0551j, -0.0308 + 0.0066j),
    (0.4450 - 0.0584j, -0.0101 - 0.0275j, -0.0352 + 0.0253j),
    (-0.0283 - 0.2073j, 1.1157 + 0.0086j, 0.0720 + 0.0105j),
    (-0.4737 + 0.5378j, 0.3267 + 0.0225j, -0.2563 - 0.0417j),
    (0.3945 + 0.5674j, 0.2738 - 0.1271j, -0.2709 - 0.0086j),
)
"""Ours from dlib's five points, which have no mouth and the base of the nose instead of its tip.

As complex numbers x + iy in units of the eyes' distance, from the middle between the eyes: each of our points = first + second · base +
third · its conjugate, by least squares over 650 portraits. Of 100 others eyes are met to 0.03, the nose to 0.04, the mouth to 0.09.
"""


class FaceDetector:
    """Finds faces that look roughly into the camera, from about 40 pixels on.

    Raises:
        UsageError: dlib or its files are not installed.
    """

    def __init__(self) -> None:
        folder = models_folder("finding faces in photos")
        if importlib.util.find_spec("dlib") is None:
            raise UsageError("finding faces in photos needs dlib, which is not installed; pip install 'anti-i2v[faces]'")
        dlib: Any = importlib.import_module("dlib")
        self._detector = dlib.get_frontal_face_detector()
        self._predictor = dlib.shape_predictor(str(folder / PREDICTOR))

    def __call__(self, photo: Image.Image) -> list[NDArray[np.float64]]:
        """The landmarks (5, 2) of each face of an upright photo, y and x in its pixels, the largest face first; see `landmarks`."""
        small = photo.convert("RGB")
        small.thumbnail((LONG, LONG), Image.Resampling.BILINEAR)
        pixels = np.ascontiguousarray(np.asarray(small))
        boxes, scores, _ = self._detector.run(pixels, int(min(small.size) < SHORT), LEAST_SCORE)
        order = sorted(range(len(scores)), key=lambda i: -boxes[i].area())
        factor = np.array([photo.height / small.height, photo.width / small.width])
        found = []
        for i in order:
            parts = self._predictor(pixels, boxes[i]).parts()
            # dlib counts from the middle of the first pixel, and names eyes as the person would: the first two corners are on the right.
            found.append(from_dlib(np.array([[part.y + 0.5, part.x + 0.5] for part in parts])) * factor)
        return found


def from_dlib(parts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn dlib's five points (corners of both eyes, base of the nose) into ours, (5, 2), the mouth a guess; see `FROM_DLIB`."""
    left, right, base = (complex(x, y) for y, x in (parts[2:4].mean(0), parts[:2].mean(0), parts[4]))
    middle, unit = (left + right) / 2, right - left
    base = (base - middle) / unit if unit else 0j
    points = [middle + unit * (first + second * base + third * base.conjugate()) for first, second, third in FROM_DLIB]
    return np.array([[point.imag, point.real] for point in points])


def models_folder(what: str) -> Path:
    """The folder with the files of `face-recognition-models`, which is found without importing it.

    Raises:
        UsageError: It is not installed; `what` needs it.
    """
    spec = importlib.util.find_spec("face_recognition_models")
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(f"{what} needs face-recognition-models, which is not installed; pip install 'anti-i2v[faces]'")
    return Path(next(iter(spec.submodule_search_locations))) / "models"
