"""The measure of views: what is cut out, noise of equal strength in the same place, inversion, and from command line to file."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch

from anti_i2v.errors import UsageError
from anti_i2v.generators import BackboneGenerator
from anti_i2v.protector import Protector
from benchmarks import views
from benchmarks.inversion import BEST
from benchmarks.view_photos import VIEWS, Subject, cut, local_noise, subjects, visibility
from tests.tiny import FRAMES, HEIGHT
from tests.tiny.training import BACKBONE


def subject(height: int, width: int, face: tuple[float, float, float]) -> Subject:
    return Subject(torch.zeros(3, height, width), face, 1, torch.zeros(height, width), torch.zeros(height, width))


@pytest.mark.parametrize(("height", "width"), [(400, 400), (400, 300), (720, 1280), (1280, 720)])
@pytest.mark.parametrize("place", [(0.1, 0.1), (0.5, 0.5), (0.9, 0.85)])
def test_every_view_lies_in_the_photo_and_shows_the_whole_face(height: int, width: int, place: tuple[float, float]) -> None:
    for share in (0.12, 0.25, 0.5):
        tall = share * min(height, width)
        y, x = min(max(place[0] * height, tall / 2), height - tall / 2), min(max(place[1] * width, tall / 2), width - tall / 2)
        for seed, view in enumerate(VIEWS):
            box = cut(view, subject(height, width, (y, x, tall)), random.Random(seed))
            if box is None:
                assert view == "whole"
                continue
            top, left, h, w = box
            assert 0 <= top <= top + h <= height
            assert 0 <= left <= left + w <= width
            assert h == w or view == "whole"
            assert top <= y - 0.4 * tall
            assert top + h >= y + 0.4 * tall
            assert left <= x - 0.3 * tall
            assert left + w >= x + 0.3 * tall


def test_views_are_as_tight_as_they_say() -> None:
    of = subject(1000, 1000, (500, 500, 100))
    sides = {view: cut(view, of, random.Random(1)) for view in VIEWS}
    assert sides["whole"] is None  # the face is a tenth of it
    assert [sides[view][2] for view in ("square", "crop75", "tight")] == [240, 180, 135]  # type: ignore[index]
    assert 160 <= sides["shoulders"][2] <= 240  # type: ignore[index]


def test_noise_is_as_strong_as_the_residual_in_the_same_place() -> None:
    image, residual = torch.full((3, 192, 192), 0.5), torch.zeros(3, 192, 192)
    residual[:, :, :96] = 6 / 255 * torch.sign(torch.randn(3, 192, 96, generator=torch.Generator().manual_seed(0)))
    change = 255 * (local_noise((255 * image).round() / 255, residual, 0) - (255 * image).round() / 255)
    assert change[:, :, 96:].abs().max() == 0
    assert change[:, :, :96].square().mean().sqrt() == pytest.approx(6, rel=0.02)
    assert change.abs().max() <= 7


def test_visibility_is_told_for_the_face_the_person_and_the_background_apart() -> None:
    person, face = torch.zeros(64, 64), torch.zeros(64, 64)
    person[:, :32] = 1
    face[:16, :32] = 1
    of = Subject(torch.full((3, 64, 64), 0.5), (8, 16, 16), 1, person, face)
    protected = of.image + 8 / 255 * person
    measured = visibility(of, protected)
    assert measured["true_epsilon"] == 8
    assert measured["covered"] == pytest.approx(0.5)
    assert measured["delta_e_background"] == measured["delta_e_background_95"] == 0
    assert measured["delta_e_face"] == pytest.approx(measured["delta_e_person"]) != 0
    assert measured["delta_e_all"] == pytest.approx(measured["delta_e_person"] / 2, rel=0.05)


def test_a_photo_too_small_for_its_face_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="1/8"):
        next(iter(subjects("1/8", [0], ["512x512"], [])))


def test_the_main_face_of_a_cell_has_its_size_and_the_same_photo_comes_again() -> None:
    one, again = (next(iter(subjects("1/4", [5], ["512x400"], []))) for _ in range(2))
    assert torch.equal(one.image, again.image)
    assert one.face[2] == pytest.approx(100, rel=0.12)


def test_cells_views_and_inversion_are_measured_and_written(
    wan: Path, judges: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator = BackboneGenerator(**BACKBONE)  # type: ignore[arg-type]
    Protector(generator).save_pretrained(tmp_path / "generator", card="", extra={"surrogate": "wan"})
    sizes = f"--inversion-steps 1 2 --model-size {HEIGHT} --frames {FRAMES} --people 2 --seeds 0 1 --steps 1 --batch 2 --sizes 200x260"
    words = [
        *sizes.split(),
        "--plain",
        "--backend",
        "torch",
        "--surrogate",
        str(wan),
        *judges[:2],
        "--generator",
        str(tmp_path / "generator"),
    ]
    views.main([*words, "--cells", "1", "1/2", "--adversary", str(tmp_path / "generator"), "--out", str(tmp_path / "out")])
    data = json.loads((tmp_path / "out" / "views.json").read_text(encoding="utf-8"))
    assert list(data["results"]) == ["1", "1/2"]
    assert list(data["results"]["1"]) == list(VIEWS)
    assert list(data["results"]["1"]["square"]) == ["clean", "noise", "protected"]
    assert data["results"]["1"]["tight"]["clean"]["identity_shift"]["mean"] in (0, None)
    assert data["visibility"]["1/2"]["true_epsilon"]["mean"] <= 8
    inverted = data["inversion"]["generator"]
    assert list(inverted["results"])[:3] == ["clean", "protected", BEST]
    assert len(inverted["results"]) == 3 + 3  # as many as `--animate` says
    assert len(inverted["likeness"]) == 2 + 12 + 30  # every factor and number of steps, and other colours; no keys
    text = capsys.readouterr().out
    assert "## Inversion" in text
    assert "| 1/2 | tight |" in text


def test_quick_leaves_what_is_given_in_words() -> None:
    options = views.parse(["--quick", "--people", "3"])
    assert (options.people, options.seeds, options.steps) == (3, [0], 8)
    assert views.parse([]).people == 64
