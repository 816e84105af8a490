"""The trial, on a tiny model."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch

from anti_i2v.errors import UsageError
from anti_i2v.evaluation.clips import VERSIONS
from anti_i2v.evaluation.judging import Judges, Reading
from anti_i2v.evaluation.runner import Trial, as_jpeg, as_saved, photo_measures, run_trial, with_identity
from anti_i2v.imaging.metrics import psnr, rms255
from anti_i2v.imaging.tensors import resize
from anti_i2v.protector import Protector
from anti_i2v.surrogates import Surrogate
from tests.tiny import FRAMES, HEIGHT, WIDTH, tiny_portrait_dit
from tests.tiny.generator import tiny_network
from tests.tiny.judges import tiny_actions, tiny_judge

PROMPTS = ["a person nods", "a person smiles"]


@pytest.fixture(scope="module")
def surrogate(tmp_path_factory: pytest.TempPathFactory) -> Surrogate:
    video_model = tiny_portrait_dit(tmp_path_factory.mktemp("video_model"))
    return Surrogate.from_pretrained(str(video_model), ["blocks.2"], HEIGHT, WIDTH, FRAMES, 2)


@pytest.fixture(scope="module")
def protector() -> Protector:
    return Protector(tiny_network().eval())


@pytest.fixture(scope="module")
def photos() -> torch.Tensor:
    return torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def trial(surrogate: Surrogate, protector: Protector, photos: torch.Tensor) -> Trial:
    """Two people, both judges."""
    judges, identity = Judges(tiny_judge(), tiny_actions()), torch.tensor([3, 1])
    return run_trial(surrogate, protector, photos, PROMPTS, epsilon=8.0, seed=5, judges=judges, identity=identity)


def test_a_trial_compares_saved_files_at_the_same_noise(surrogate: Surrogate, trial: Trial) -> None:
    assert set(trial.measures) == set(VERSIONS)
    assert trial.clips["clean"].shape == (2, FRAMES, 3, HEIGHT, WIDTH)
    for photo in trial.photos.values():
        assert torch.equal(photo, (photo * 255).round() / 255)
    # the same photo from the same seed is the same clip, so what moves the others is the photo alone
    picture = resize(trial.photos["clean"], HEIGHT, WIDTH)
    assert torch.equal(surrogate.animate(picture, surrogate.encode_text(PROMPTS), seed=5), trial.clips["clean"])
    measures = trial.measures["protected"]
    expected = rms255(trial.clips["protected"][:, 0] - trial.clips["clean"][:, 0])
    assert torch.equal(measures["first_frame_change"], expected)
    assert torch.all(measures["feature_damage"] > 0)
    assert torch.allclose(trial.measures["white_noise"]["residual_rms"], measures["residual_rms"], rtol=0.02)
    other = trial.measures["other_seed"]
    assert torch.all(other["feature_damage"] == 0)
    assert torch.all(other["residual_rms"] == 0)
    assert torch.all(other["clip_change"] > 0)


def test_epsilon_zero_changes_nothing(surrogate: Surrogate, protector: Protector, photos: torch.Tensor) -> None:
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


def test_every_version_is_judged(trial: Trial) -> None:
    assert all(set(measures["action"].tolist()) <= {0.0, 1.0} for measures in trial.measures.values())
    (judged,), note = with_identity([trial], tiny_judge(), lambda people: torch.rand(2, 1, 1, 3, 32, 32))
    assert "the same person in other clothes" in note
    measures = judged.measures["protected"]
    clean = judged.measures["clean"]
    torch.testing.assert_close(measures["similarity_drop"], clean["identity_similarity"] - measures["identity_similarity"])
    assert torch.all(clean["similarity_drop"] == 0)
    assert torch.all(measures["photo_similarity_drop"] != 0)
    assert torch.all(judged.measures["other_seed"]["photo_similarity_drop"] == 0)


def test_photos_of_unknown_people_are_their_own_reference(trial: Trial) -> None:
    unknown = replace(trial, identity=None)
    (judged,), note = with_identity([unknown], tiny_judge())
    assert "the clean photo itself" in note
    torch.testing.assert_close(judged.measures["clean"]["photo_identity_similarity"], torch.ones(2))


def test_identity_is_not_judged_for_a_single_photo(trial: Trial) -> None:
    clean = Reading(*(getattr(trial.readings["clean"], field.name)[:1] for field in fields(Reading)))
    (unjudged,), note = with_identity([replace(trial, identity=None, readings={"clean": clean})], tiny_judge())
    assert "a set of 1 photo has no strangers" in note
    assert "identity_similarity" not in unjudged.measures["clean"]


def test_a_version_that_became_nan_is_named(surrogate: Surrogate, protector: Protector, photos: torch.Tensor) -> None:
    import copy

    broken = copy.deepcopy(protector)
    with torch.no_grad():
        for name, weights in broken.generator.named_parameters():
            if not name.startswith("salience."):  # which would find nobody, and be named for it
                weights.fill_(float("nan"))
    with pytest.raises(UsageError, match="version 'protected', hold NaN"):
        run_trial(surrogate, broken, photos, PROMPTS, 8.0, 5)
