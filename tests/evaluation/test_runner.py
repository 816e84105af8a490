"""The trial, on the tiny world."""

from __future__ import annotations

import pytest
import torch

from anti_i2v.errors import UsageError
from anti_i2v.evaluation.clips import VERSIONS
from anti_i2v.evaluation.judging import Judges
from anti_i2v.evaluation.runner import as_jpeg, as_saved, photo_measures, run_trial, with_identity
from anti_i2v.generators import BackboneGenerator
from anti_i2v.imaging.metrics import psnr, rms255
from anti_i2v.imaging.tensors import resize
from anti_i2v.protector import Protector
from anti_i2v.surrogates import Surrogate
from tests.tiny import FRAMES, HEIGHT, WIDTH, tiny_world
from tests.tiny.judges import tiny_actions, tiny_judge

PROMPTS = ["a person nods", "a person smiles"]


@pytest.fixture(scope="module")
def surrogate(tmp_path_factory: pytest.TempPathFactory) -> Surrogate:
    world = tiny_world(tmp_path_factory.mktemp("world"))
    return Surrogate.from_pretrained(str(world), ["blocks.2"], HEIGHT, WIDTH, FRAMES, 2)


@pytest.fixture(scope="module")
def protector() -> Protector:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Protector(BackboneGenerator("resnet10t", working_size=32, chroma_size=4, cutoff=4, width=16).eval())


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
    assert torch.equal(measures["first_frame_change"], expected)
    assert torch.all(measures["feature_damage"] > 0)
    assert torch.allclose(trial.measures["white_noise"]["residual_rms"], measures["residual_rms"], rtol=0.02)
    other = trial.measures["other_seed"]
    assert torch.all(other["feature_damage"] == 0)
    assert torch.all(other["residual_rms"] == 0)
    assert torch.all(other["clip_change"] > 0)


def test_epsilon_zero_moves_nothing(surrogate: Surrogate, protector: Protector, photos: torch.Tensor) -> None:
    measures = run_trial(surrogate, protector, photos, PROMPTS, epsilon=0.0, seed=5).measures["protected"]
    for name in ("first_frame_change", "clip_change", "last_frame_change", "flicker_change", "feature_damage", "residual_rms", "delta_e"):
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


def test_judges_are_asked_about_every_version(surrogate: Surrogate, protector: Protector, photos: torch.Tensor) -> None:
    judge = tiny_judge()
    who = torch.tensor([3, 1])
    trial = run_trial(surrogate, protector, photos, PROMPTS, 8.0, 5, Judges(judge, tiny_actions()), who)
    assert all(set(measures["action"].tolist()) <= {0.0, 1.0} for measures in trial.measures.values())
    (judged,), note = with_identity([trial], judge, lambda people: torch.rand(2, 1, 1, 3, 32, 32))
    assert "the same person in other clothes" in note
    measures = judged.measures["protected"]
    clean = judged.measures["clean"]
    torch.testing.assert_close(measures["similarity_drop"], clean["identity_similarity"] - measures["identity_similarity"])
    assert torch.all(clean["similarity_drop"] == 0)
    assert torch.all(measures["photo_similarity_drop"] != 0)
    assert torch.all(judged.measures["other_seed"]["photo_similarity_drop"] == 0)


def test_photos_of_unknown_people_are_their_own_reference(surrogate: Surrogate, protector: Protector, photos: torch.Tensor) -> None:
    judge = tiny_judge()
    trials = [run_trial(surrogate, protector, photo[None], PROMPTS[:1], 8.0, i, Judges(judge)) for i, photo in enumerate(photos)]
    judged, note = with_identity(trials, judge)
    assert "the clean photo itself" in note
    for trial in judged:
        assert trial.measures["clean"]["photo_identity_similarity"].item() == pytest.approx(1, abs=1e-5)
    unjudged, note = with_identity(trials[:1], judge)
    assert "a set of 1 photo has no strangers" in note
    assert "identity_similarity" not in unjudged[0].measures["clean"]


def test_a_version_that_became_nan_is_named(surrogate: Surrogate, protector: Protector, photos: torch.Tensor) -> None:
    import copy

    broken = copy.deepcopy(protector)
    with torch.no_grad():
        for weights in broken.generator.parameters():
            weights.fill_(float("nan"))
    with pytest.raises(UsageError, match="version 'protected', hold NaN"):
        run_trial(surrogate, broken, photos, PROMPTS, 8.0, 5)
