"""Alignment against transforms worked out by hand, against scikit-image, and against dlib's own chips where dlib is installed."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage.transform import SimilarityTransform

from anti_i2v.embedders.alignment import ARCFACE, DLIB, Template, align, has_face, move_landmarks, scale_template, similarity_transform
from anti_i2v.imaging.detection import PREDICTOR, from_dlib, models_folder

TEMPLATES = pytest.mark.parametrize("template", [DLIB, ARCFACE])


def turned(template: Template, scale: float, angle: float, y: float, x: float) -> torch.Tensor:
    """The template's points turned, scaled and moved: (1, 5, 2)."""
    points = torch.tensor(template.points, dtype=torch.float64)
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    return torch.stack([sin * points[:, 1] + cos * points[:, 0] + y, cos * points[:, 1] - sin * points[:, 0] + x], 1)[None]


@TEMPLATES
def test_finds_the_transform_that_moved_the_template(template: Template) -> None:
    matrix = similarity_transform(turned(template, 0.5, 0.3, 20, 7), template)
    expected = [[0.5 * math.cos(0.3), -0.5 * math.sin(0.3), 7], [0.5 * math.sin(0.3), 0.5 * math.cos(0.3), 20]]
    torch.testing.assert_close(matrix[0], torch.tensor(expected, dtype=torch.float64))


def test_least_squares_are_those_of_scikit_image() -> None:
    random = np.random.default_rng(0)
    own = np.array(ARCFACE.points)[:, ::-1]  # x, y
    photo = own * 1.7 + random.normal(0, 4, (5, 2))
    expected = SimilarityTransform.from_estimate(photo, own).inverse.params[:2]  # least squares in the input's pixels
    landmarks = torch.from_numpy(photo[None, :, ::-1].copy())
    np.testing.assert_allclose(similarity_transform(landmarks, ARCFACE)[0].numpy(), expected, atol=1e-6)
    expected = SimilarityTransform.from_estimate(own, photo).params[:2]
    other = Template(ARCFACE.points, ARCFACE.weights, ARCFACE.size, to_photo=True)
    np.testing.assert_allclose(similarity_transform(landmarks, other)[0].numpy(), expected, atol=1e-6)


@TEMPLATES
def test_a_face_that_lies_as_expected_is_left_as_it_is(template: Template) -> None:
    picture = torch.rand(1, 3, template.size, template.size)
    aligned, faces = align(picture, torch.tensor([template.points]), template)
    assert faces.tolist() == [True]
    torch.testing.assert_close(aligned, picture, atol=1e-4, rtol=0)


@TEMPLATES
def test_a_face_in_a_larger_photo_is_cut_out_and_made_smaller(template: Template) -> None:
    size = template.size
    chip = F.interpolate(torch.rand(1, 3, 12, 12), (size, size), mode="bilinear")
    photo = torch.zeros(1, 3, 3 * size, 3 * size)
    photo[:, :, 30 : 30 + 2 * size, 50 : 50 + 2 * size] = F.interpolate(chip, scale_factor=2, mode="bilinear")
    aligned, _ = align(photo, turned(template, 2, 0, 30, 50), template)
    assert float((aligned - chip)[..., 2:-2, 2:-2].abs().mean()) < 0.005


def test_the_gradient_reaches_the_photo_where_the_face_is() -> None:
    photo = torch.rand(1, 3, 200, 200, requires_grad=True)
    align(photo, turned(ARCFACE, 0.5, 0, 10, 20), ARCFACE)[0].sum().backward()  # type: ignore[no-untyped-call]
    assert photo.grad is not None
    assert bool((photo.grad[..., 12:64, 22:74] > 0).all())
    assert float(photo.grad[..., 70:, :].abs().max()) == 0


def test_no_face_gives_no_nan() -> None:
    good = torch.tensor(ARCFACE.points)
    rows = [good, torch.full((5, 2), torch.nan), torch.zeros(5, 2), torch.full((5, 2), 50.0), good - 200, good + torch.tensor([0.0, 60.0])]
    landmarks = torch.stack(rows)
    assert has_face(landmarks, 112, 112).tolist() == [True, False, False, False, False, False]  # the last: three points are outside
    picture = torch.rand(6, 3, 112, 112, requires_grad=True)
    aligned, faces = align(picture, landmarks, ARCFACE)
    assert faces.tolist() == [True, *[False] * 5]
    assert bool(aligned.isfinite().all())
    aligned.sum().backward()  # type: ignore[no-untyped-call]
    assert picture.grad is not None
    assert bool(picture.grad.isfinite().all())
    torch.testing.assert_close(aligned[1], picture[1], atol=1e-4, rtol=0)  # the whole picture
    empty, _ = align(picture[:0], landmarks[:0], ARCFACE)
    assert empty.shape == (0, 3, 112, 112)


def test_landmarks_follow_a_resize() -> None:
    assert move_landmarks(torch.tensor([[10.0, 30.0]]), (100, 200), (50, 300)).tolist() == [[5.0, 45.0]]
    assert scale_template(ARCFACE, 224).points[0] == pytest.approx((2 * 52.1963, 2 * 38.7946))


def test_chips_are_those_of_dlib() -> None:
    dlib = pytest.importorskip("dlib", reason="needs anti-i2v[faces]")
    from skimage import data

    photo = data.astronaut()
    box = dlib.get_frontal_face_detector()(photo, 1)[0]
    points = dlib.shape_predictor(str(models_folder("the test") / PREDICTOR))(photo, box)
    expected = torch.from_numpy(dlib.get_face_chip(photo, points, 150, 0.25)).permute(2, 0, 1).float() / 255
    parts = np.array([[p.y + 0.5, p.x + 0.5] for p in points.parts()])
    xy = ((0.8595674595992, 0.2134981538014), (0.6460604764104, 0.2289674387677), (0.1205750620789, 0.2137274526848))
    xy += ((0.3340850613712, 0.2290642403242), (0.4901123135679, 0.6277975316475))
    own = Template(tuple((100 * y + 25, 100 * x + 25) for x, y in xy), (1.0,) * 5, 150, to_photo=True)  # by dlib's own five points
    picture = torch.from_numpy(photo).permute(2, 0, 1)[None].float() / 255
    chip, _ = align(picture, torch.from_numpy(parts)[None], own)
    assert float((chip[0] - expected).abs().mean()) < 2 / 255  # dlib cuts off decimals
    assert float((chip[0].roll(1, 2) - expected).abs().mean()) > 4 / 255
    chip, _ = align(picture, torch.from_numpy(from_dlib(parts))[None], DLIB)  # by ours: a pixel or two beside
    assert float((chip[0] - expected).abs().mean()) < 8 / 255
    assert float((chip[0].roll(8, 2) - expected).abs().mean()) > 12 / 255
