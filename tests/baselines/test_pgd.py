"""Per-photo PGD on the tiny world."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from anti_i2v.baselines import PARTS, Part, pgd, white_noise
from anti_i2v.baselines.pgd import features, step_length
from anti_i2v.errors import UsageError
from anti_i2v.evaluation.clips import feature_damage
from anti_i2v.metrics import rms255
from anti_i2v.objectives import FeatureObjective, Objective
from anti_i2v.surrogates import Draw, Surrogate
from tests.tiny import FRAMES, HEIGHT, WIDTH, tiny_world

EPSILON = 4.0


@pytest.fixture(scope="module")
def surrogate(tmp_path_factory: pytest.TempPathFactory) -> Surrogate:
    return Surrogate.from_pretrained(str(tiny_world(tmp_path_factory.mktemp("world"))), ["blocks.1"], HEIGHT, WIDTH, FRAMES, 4)


@pytest.fixture(scope="module")
def text(surrogate: Surrogate) -> dict[str, Tensor]:
    return surrogate.encode_text(["a person nods"])


@pytest.fixture(scope="module")
def photos() -> Tensor:
    """Smooth photos that touch black and white, on the 8-bit grid."""
    wave = torch.linspace(-4, 4, HEIGHT).sin().view(-1, 1) * torch.linspace(-2, 5, WIDTH).cos()
    return torch.stack([(0.5 + 0.6 * wave).expand(3, -1, -1), (0.5 - 0.4 * wave).expand(3, -1, -1)]).clamp(0, 1).mul(255).round() / 255


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("part", PARTS)
def test_it_does_more_than_noise_of_equal_rms_within_the_budget_on_the_file(
    surrogate: Surrogate, text: dict[str, Tensor], photos: Tensor, part: Part
) -> None:
    protected = pgd(surrogate, photos, text, FeatureObjective(), EPSILON, 8, random(), part=part)[8]
    steps = 255 * (protected - photos)
    assert steps.abs().max() == pytest.approx(EPSILON, abs=1e-3)
    assert torch.equal(protected, (255 * protected).round() / 255)
    assert 0 <= protected.min() <= protected.max() <= 1
    noise = white_noise(photos, rms255(protected - photos), EPSILON, random(1))
    draw = surrogate.draw(2, random(2), 0.75)
    with torch.no_grad():
        seen = [features(surrogate, photo, text, draw, part) for photo in (photos, protected, noise)]
    assert torch.all(feature_damage(seen[0], seen[1]) > 1.5 * feature_damage(seen[0], seen[2]))


def test_a_long_run_passes_through_the_result_of_a_short_one(surrogate: Surrogate, text: dict[str, Tensor], photos: Tensor) -> None:
    kept = pgd(surrogate, photos, text, FeatureObjective(), EPSILON, 3, random(), keep=[0, 2])
    assert sorted(kept) == [0, 2, 3]
    short = pgd(surrogate, photos, text, FeatureObjective(), EPSILON, 2, random())
    assert torch.equal(kept[2], short[2])
    assert not torch.equal(kept[0], kept[2])
    other = pgd(surrogate, photos, text, FeatureObjective(), EPSILON, 2, random(1))
    assert not torch.equal(other[2], short[2])


def test_photos_of_a_batch_know_nothing_of_each_other(surrogate: Surrogate, text: dict[str, Tensor], photos: Tensor) -> None:
    both = pgd(surrogate, photos, text, FeatureObjective(), EPSILON, 2, random(), part="encoder")[2]
    alone = pgd(surrogate, photos[:1], text, FeatureObjective(), EPSILON, 2, random(), part="encoder")[2]
    # equal but for gradients so near zero that the order of sums decides their sign
    assert (both[:1] == alone).float().mean() > 0.98


def test_one_step_follows_the_sign_of_the_gradient(surrogate: Surrogate, text: dict[str, Tensor], photos: Tensor) -> None:
    start, end = pgd(surrogate, photos, text, FeatureObjective(), EPSILON, 1, random(), part="encoder", step_size=20, keep=[0]).values()
    start = start.clone().requires_grad_()
    latents = [surrogate.condition(photo)["latents"] for photo in (photos, start)]
    loss = -sum(((latents[1][i] - latents[0][i]) ** 2).mean() / latents[0][i].var(correction=0) for i in range(2))
    (gradient,) = torch.autograd.grad(loss, start)
    # a step over the whole budget from anywhere inside ends on its surface, or at black or white
    expected = (photos - EPSILON / 255 * gradient.sign()).clamp(0, 1)
    assert ((end - expected).abs() < 1e-6).float().mean() > 0.98


def test_larger_photos_get_a_residual_at_their_own_size(surrogate: Surrogate, text: dict[str, Tensor]) -> None:
    large = torch.rand(1, 3, 50, 70, generator=random()) * 0.5 + 0.25  # not on the grid either
    protected = pgd(surrogate, large, text, FeatureObjective(), 2.5, 2, random())[2]
    assert protected.shape == large.shape
    assert 1 < 255 * (protected - large).abs().max() <= 2.5 + 1e-3
    assert torch.equal(protected, (255 * protected).round() / 255)


def test_epsilon_zero_changes_nothing(surrogate: Surrogate, text: dict[str, Tensor], photos: Tensor) -> None:
    assert torch.equal(pgd(surrogate, photos, text, FeatureObjective(), 0.0, 1, random())[1], photos)


def test_steps_shorten_whatever_their_total() -> None:
    assert step_length(0, 8.0) == 8.0
    assert step_length(30, 8.0) == 4.0  # 8 / √4
    assert step_length(30, 8.0, first=3.0) == 1.5


class Broken(Objective):
    """Not a number from the second draw on."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def forward(self, clean: dict[str, Tensor], protected: dict[str, Tensor], draw: Draw) -> tuple[Tensor, dict[str, Tensor]]:
        self.seen += 1
        return sum(value.sum() for value in protected.values()) * (float("nan") if self.seen > 1 else 1.0), {}


def test_unusable_input_is_refused_with_the_value(surrogate: Surrogate, text: dict[str, Tensor], photos: Tensor) -> None:
    with pytest.raises(UsageError, match="the loss of step 1 is nan"):
        pgd(surrogate, photos, text, Broken(), EPSILON, 5, random(), part="encoder")
    with pytest.raises(UsageError, match=r"keep is \[9\] and steps 5"):
        pgd(surrogate, photos, text, FeatureObjective(), EPSILON, 5, random(), keep=[9])
    with pytest.raises(UsageError, match="part is 'decoder'; choose one of encoder, taps, both"):
        pgd(surrogate, photos, text, FeatureObjective(), EPSILON, 5, random(), part="decoder")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="part is 'decoded'"):  # a tap of the surrogate, see `named_attack`
        pgd(surrogate, photos, text, FeatureObjective(), EPSILON, 5, random(), part="decoded")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="epsilon 99"):
        pgd(surrogate, photos, text, FeatureObjective(), 99, 5, random())
