"""Alignment: a face is turned, scaled and moved so that its five landmarks lie where an embedder expects them.

Points are (y, x) in pixels from the picture's top left corner: the middle of the first pixel is (0.5, 0.5). Their order is that of
`anti_i2v.imaging.landmarks.POINTS`: the eye on the left of the picture, the one on the right, nose, left and right corner of the mouth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

MOST_SAMPLES = 8
"""Points a pixel and axis that are averaged where a face is made smaller."""
LEAST_EYES = 2.0
"""Distance of the eyes in pixels below which a face is not read."""


@dataclass(frozen=True)
class Template:
    """Where the landmarks of a face lie in an embedder's input.

    Attributes:
        points: Five (y, x) in pixels of the input.
        weights: Of each point in the least squares; 0 leaves a point out.
        size: Height and width of the input in pixels.
        to_photo: Least squares in pixels of the photo (dlib) instead of those of the input (ArcFace). They differ by a few per cent of the
            scale where a face is unlike the template.
    """

    points: tuple[tuple[float, float], ...]
    weights: tuple[float, ...]
    size: int
    to_photo: bool = False


# dlib's own chips (`get_face_chip`, size 150, padding 0.25) are aligned by the corners of the eyes and the base of the nose. These
# are the mean places of our five points in them, over 650 portraits; faces of 100 others then lie on average 2 pixels beside dlib's.
DLIB = Template(((45.3, 46.3), (45.1, 99.7), (78.2, 72.2), (99.1, 46.6), (99.0, 99.9)), (2.0, 2.0, 1.0, 1.0, 1.0), 150, to_photo=True)
"""The template of dlib's face network."""

_ARCFACE = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))
# These x, y are counted from the middle of the first pixel, as their authors do; ours are counted from its corner.
ARCFACE = Template(tuple((y + 0.5, x + 0.5) for x, y in _ARCFACE), (1.0,) * 5, 112)
"""The template of ArcFace (arXiv 1801.07698), which AdaFace, EdgeFace and most others share."""

TEMPLATES = {"dlib": DLIB, "arcface": ARCFACE}
"""The templates that a config may name."""


def scale_template(template: Template, size: int) -> Template:
    """The same template for an input of another size in pixels."""
    factor = size / template.size
    return Template(tuple((y * factor, x * factor) for y, x in template.points), template.weights, size, template.to_photo)


def has_face(landmarks: Tensor, height: int, width: int) -> Tensor:
    """Whether landmarks (B, 5, 2) are of a face that can be read: (B,) bool.

    It cannot where they are not finite or all zero (no face), the eyes are too close to one another, or most points lie outside of the
    picture of so many pixels (a face cut off).
    """
    known = landmarks.isfinite().all(-1).all(-1)
    points = landmarks.nan_to_num(0.0, 0.0, 0.0)
    y, x = points.unbind(-1)
    inside = ((y >= 0) & (y <= height) & (x >= 0) & (x <= width)).sum(-1) >= 3
    faces: Tensor = known & inside & ((points[:, 0] - points[:, 1]).norm(dim=-1) >= LEAST_EYES)
    return faces


def similarity_transform(landmarks: Tensor, template: Template) -> Tensor:
    """The turn, scale and shift that lead from a template to landmarks, by least squares (Umeyama 1991, doi 10.1109/34.88573).

    In a plane, with points as complex numbers x + iy, its solution without reflection is a quotient of two sums.

    Args:
        landmarks: (B, 5, 2) y, x in pixels of the photo, finite.
        template: To fit.

    Returns:
        (B, 2, 3) float64: a pixel (x, y, 1) of the template → (x, y) of the photo.
    """
    points = landmarks.double()
    photo = torch.complex(points[..., 1], points[..., 0])
    own = torch.tensor([complex(x, y) for y, x in template.points], dtype=photo.dtype, device=photo.device)
    weights = torch.tensor(template.weights, dtype=torch.float64, device=photo.device)
    weights = weights / weights.sum()
    centre, own_centre = (photo * weights).sum(-1), (own * weights).sum()
    photo, own = photo - centre[:, None], own - own_centre
    common = (weights * own.conj() * photo).sum(-1)
    to_photo = common / (weights * own.abs().square()).sum()
    turn = to_photo if template.to_photo else (weights * photo.abs().square()).sum(-1) / common.conj()
    shift = centre - turn * own_centre
    rows = [torch.stack([turn.real, -turn.imag, shift.real], -1), torch.stack([turn.imag, turn.real, shift.imag], -1)]
    return torch.stack(rows, 1)


def align(pictures: Tensor, landmarks: Tensor, template: Template) -> tuple[Tensor, Tensor]:
    """Cut faces out as an embedder expects them, differentiably in the pictures, bilinear; averaged where a face is made smaller.

    Args:
        pictures: (B, 3, H, W), any range.
        landmarks: (B, 5, 2) y, x in pixels of the pictures.
        template: The embedder's.

    Returns:
        (B, 3, size, size), black outside of the pictures; and (B,) bool, where that is a face. Where it is not, the whole picture is
        scaled instead, so that nothing becomes NaN: do not count those rows.
    """
    height, width = pictures.shape[-2:]
    landmarks = landmarks.detach().cpu().double()  # few numbers, and not every device computes in float64
    faces, size = has_face(landmarks, height, width), template.size
    if len(pictures) == 0:
        return pictures.new_zeros(0, 3, size, size), faces.to(pictures.device)
    own = torch.tensor(template.points, dtype=torch.float64)
    whole = torch.tensor([[width / size, 0.0, 0.0], [0.0, height / size, 0.0]], dtype=torch.float64)
    matrix = similarity_transform(torch.where(faces[:, None, None], landmarks, own), template)
    faces &= matrix.isfinite().all(2).all(1)  # of points so unlike a face that no turn fits
    matrix = torch.where(faces[:, None, None], matrix, whole)
    scale = float((matrix[:, :, 0].norm(dim=1) * faces).max())  # of the largest face, which decides for all
    samples = min(MOST_SAMPLES, max(1, math.ceil(scale - 0.01)))
    # From the grid's [-1, 1] over the input to pixels of it, to those of the photo, to [-1, 1] over the photo.
    to_input = torch.tensor([[size / 2, 0, size / 2], [0, size / 2, size / 2], [0, 0, 1]], dtype=torch.float64)
    theta = 2 * (matrix @ to_input) / torch.tensor([[width], [height]])
    theta[:, :, 2] -= 1
    grid = F.affine_grid(theta.to(pictures), [len(pictures), 3, samples * size, samples * size], align_corners=False)
    chips = F.grid_sample(pictures, grid, padding_mode="zeros", align_corners=False)
    return (F.avg_pool2d(chips, samples) if samples > 1 else chips), faces.to(pictures.device)


def move_landmarks(landmarks: Tensor, size: Sequence[int], to: Sequence[int]) -> Tensor:
    """Landmarks (..., 5, 2) of pictures of one size (height, width) in copies scaled to another."""
    return landmarks * landmarks.new_tensor([to[0] / size[0], to[1] / size[1]])
