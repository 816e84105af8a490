"""The trial, on the tiny world."""

from __future__ import annotations

import pytest
import torch

from anti_i2v.evaluation.clips import VERSIONS
from anti_i2v.evaluation.runner import as_jpeg, as_saved, photo_measures, run_trial
from anti_i2v.generators import BackboneGenerator
from anti_i2v.images import resize
from anti_i2v.metrics import psnr, rms255
from anti_i2v.protector import Protector
from anti_i2v.surrogates import Surrogate
from tests.tiny import FRAMES, HEIGHT, WIDTH, tiny_world

PROMPTS = ["a person nods", "a person smiles"]


@pytest.fixture(scope="module")
def surrogate(tmp_path_factory: pytest.TempPathFactory) -> Surrogate:
    world = tiny_world(tmp_path_factory.mktemp("world"))
    return Surrogate.from_pretrained(str(world), ["blocks.2"], HEIGHT, WIDTH, FRAMES, 2)


@pytest.fixture(scope="module")
def protector() -> Protector:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Protector(BackboneGenerator("resnet10t", working_size=32, chroma_size=4, cutoff=4, width=16)).eval()


@pytest.fixture(scope="module")
def photos() -> torch.Tensor:
    return torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(3))


def test_a_trial_compares_saved_files_at_the_same_noise(surrogate: Surrogate, protector: Protector, photos: torch.Tensor) -> None:
    trial = run_trial(surrogate, protector, photos, PROMPTS, epsilon=8.0, seed=5)
    assert set(trial.measures) == set(VERSIONS)
    assert trial.clips["clean"].shape == (2, FRAMES, 3, HEIGHT, WIDTH)
    for photo in trial.photos.values():
        assert torch.equal(photo, (photo * 255).round() / 255)
    # the same photo from the same seed is the same clip, so what moves the others is the photo alone
    seen = resize(trial.photos["clean"], HEIGHT, WIDTH)
    assert torch.equal(surrogate.animate(seen, surrogate.encode_text(PROMPTS), seed=5), trial.clips["clean"])
    measures = trial.measures["protected"]
    expected = rms255(trial.clips["protected"][:, 0] - trial.clips["clean"][:, 0])
    assert torch.equal(measures["first_frame"], expected)
    assert torch.all(measures["feature_damage"] > 0)
    assert torch.allclose(trial.measures["white_noise"]["residual_rms"], measures["residual_rms"], rtol=0.02)
    other = trial.measures["other_seed"]
    assert torch.all(other["feature_damage"] == 0)
    assert torch.all(other["residual_rms"] == 0)
    assert torch.all(other["all_frames"] > 0)


def test_epsilon_zero_moves_nothing(surrogate: Surrogate, protector: Protector, photos: torch.Tensor) -> None:
    measures = run_trial(surrogate, protector, photos, PROMPTS, epsilon=0.0, seed=5).measures["protected"]
    for name in ("first_frame", "all_frames", "last_frame", "flicker_change", "feature_damage", "residual_rms", "delta_e"):
        assert torch.all(measures[name] == 0), name


def test_validation_measures_are_repeatable(surrogate: Surrogate, protector: Protector, photos: torch.Tensor) -> None:
    first = photo_measures(surrogate, protector, photos, PROMPTS, 8.0, seed=1)
    second = photo_measures(surrogate, protector, photos, PROMPTS, 8.0, seed=1)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.all(first["psnr"] >= 30)  # what epsilon 8 allows: 20·log10(255/8)


def test_files_hold_what_was_written(photos: torch.Tensor) -> None:
    assert torch.equal(as_saved(photos), (photos * 255).round() / 255)
    smooth = torch.linspace(0, 1, 48).expand(1, 3, 48, 48)
    assert 30 < psnr(smooth, as_jpeg(smooth, 75)).item() < 60
