"""Named attacks on a tiny model: each does what it is named after."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from anti_i2v.attacks import optimise
from anti_i2v.errors import UsageError
from anti_i2v.evaluation.noise import white_noise
from anti_i2v.imaging.metrics import rms255
from anti_i2v.objectives import FeatureObjective
from anti_i2v.surrogates import Surrogate
from benchmarks.parts import PARTS, PartName, attack_on
from tests.tiny import FRAMES, HEIGHT, WIDTH, tiny_portrait_dit
from tests.tiny.judges import write_faces, write_judges

EPSILON = 4.0


@pytest.fixture(scope="module")
def surrogate(tmp_path_factory: pytest.TempPathFactory) -> Surrogate:
    return Surrogate.from_pretrained(str(tiny_portrait_dit(tmp_path_factory.mktemp("video_model"))), ["blocks.3"], HEIGHT, WIDTH, FRAMES, 4)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_faces(tmp_path_factory.mktemp("faces"))


@pytest.fixture(scope="module")
def photos() -> Tensor:
    """Smooth photos on the 8-bit grid."""
    wave = torch.linspace(-4, 4, HEIGHT).sin().view(-1, 1) * torch.linspace(-2, 5, WIDTH).cos()
    return torch.stack([(0.5 + 0.4 * wave).expand(3, -1, -1), (0.5 - 0.3 * wave).expand(3, -1, -1)]).mul(255).round() / 255


@pytest.mark.parametrize("name", PARTS)
def test_it_reaches_its_aim_better_than_noise_of_equal_rms(surrogate: Surrogate, photos: Tensor, faces: Path, name: PartName) -> None:
    attack = attack_on(name, surrogate, ["blocks.1"], [str(faces)], keep=0.0)
    text, random = surrogate.encode_text(["a person nods"]), torch.Generator().manual_seed(0)
    protected = optimise(attack.surrogate, photos, text, attack.objective, EPSILON, 8, random)[8]
    assert 255 * (protected - photos).abs().max() <= EPSILON + 1e-3
    noise = white_noise(photos, rms255(protected - photos), EPSILON, random)
    draw = surrogate.draw(2, random, 0.75)
    with torch.no_grad():
        clean, attacked_features, noise_features = (attack.surrogate(photo, text, draw) for photo in (photos, protected, noise))
        aims = [float(attack.objective(clean, other, draw)[0]) for other in (clean, noise_features, attacked_features)]
    assert aims[0] - aims[2] > 1.5 * (aims[0] - aims[1]) > 0
    assert surrogate.taps == ("blocks.3",)


def test_encoder_and_taps_weigh_the_same_together(surrogate: Surrogate, photos: Tensor) -> None:
    weights = {
        "encoder": {"latent": 1.0},
        "taps": {"blocks.1": 0.5, "blocks.2": 0.5},
        "both": {"latent": 1.0, "blocks.1": 0.5, "blocks.2": 0.5},
    }
    names: tuple[PartName, ...] = ("encoder", "taps", "both")
    for name in names:
        attack = attack_on(name, surrogate, ["blocks.1", "blocks.2", "blocks.1"])
        assert isinstance(attack.objective, FeatureObjective)
        assert attack.objective.weights == weights[name]
        assert attack.surrogate.taps == tuple(weights[name])
        assert attack.objective.centred
        assert not attack_on(name, surrogate, ["blocks.1"], centred=False).objective.centred


def test_identity_sees_the_decoded_photo_and_the_photo_itself(surrogate: Surrogate, photos: Tensor, faces: Path) -> None:
    attack = attack_on("identity", surrogate, [], [str(faces)], keep=2.0)
    assert attack.surrogate.taps == ("decoded", "photo")
    draw = surrogate.draw(2, torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = attack.surrogate(photos, surrogate.encode_text(["a person nods"]), draw)
    assert torch.equal(features["photo"], photos)
    assert float(attack.objective(features, features, draw)[0]) == pytest.approx(1.0, abs=1e-5)


def test_the_judge_and_unknown_taps_are_refused(surrogate: Surrogate, photos: Tensor, tmp_path: Path) -> None:
    judge, _ = write_judges(tmp_path)
    with pytest.raises(UsageError, match="identity is for the role 'judge', not 'objective'"):
        attack_on("identity", surrogate, [], [str(judge)])
    with pytest.raises(UsageError, match=r"no tap 'blocks\.9'"):
        attack_on("taps", surrogate, ["blocks.9"])
    with pytest.raises(UsageError, match="no taps given"):
        attack_on("both", surrogate, [])
