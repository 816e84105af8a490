"""The loop of per-photo methods on a tiny model."""

from __future__ import annotations

import pytest
import torch
from scipy.fft import dctn
from torch import Tensor

from anti_i2v.attacks import Settings, optimise
from anti_i2v.attacks.descent import SPACES, SpaceName
from anti_i2v.attacks.loop import step_length
from anti_i2v.errors import UsageError
from anti_i2v.evaluation.clips import feature_damage
from anti_i2v.evaluation.noise import white_noise
from anti_i2v.imaging.metrics import rms255, srgb_to_lab
from anti_i2v.imaging.tensors import resize
from anti_i2v.objectives import AnchorObjective, DiffusionObjective, FeatureObjective, LatentObjective, Objective
from anti_i2v.surrogates import Draw, Surrogate
from anti_i2v.training.transforms import Transform
from tests.tiny import FRAMES, HEIGHT, WIDTH, tiny_portrait_dit

EPSILON = 4.0


@pytest.fixture(scope="module")
def surrogate(tmp_path_factory: pytest.TempPathFactory) -> Surrogate:
    return Surrogate.from_pretrained(str(tiny_portrait_dit(tmp_path_factory.mktemp("video_model"))), ["blocks.1"], HEIGHT, WIDTH, FRAMES, 4)


@pytest.fixture(scope="module")
def encoder(surrogate: Surrogate) -> Surrogate:
    return surrogate.with_taps(["latent"])


@pytest.fixture(scope="module")
def text(surrogate: Surrogate) -> dict[str, Tensor]:
    return surrogate.encode_text(["a person nods"])


@pytest.fixture(scope="module")
def photos() -> Tensor:
    """Smooth photos that touch black and white, on the 8-bit grid."""
    wave = torch.linspace(-4, 4, HEIGHT).sin().view(-1, 1) * torch.linspace(-2, 5, WIDTH).cos()
    return torch.stack([(0.5 + 0.6 * wave).expand(3, -1, -1), (0.5 - 0.4 * wave).expand(3, -1, -1)]).clamp(0, 1).mul(255).round() / 255


@pytest.fixture(scope="module")
def colourful() -> Tensor:
    """A smooth photo with colours and without extremes."""
    small = torch.rand(1, 3, 5, 4, generator=random()) * 0.5 + 0.25
    return torch.nn.functional.interpolate(small, (HEIGHT, WIDTH), mode="bicubic").mul(255).round() / 255


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("taps", [["latent"], ["blocks.1"]])
def test_it_does_more_than_noise_of_equal_rms_within_the_budget_on_the_file(
    surrogate: Surrogate, text: dict[str, Tensor], photos: Tensor, taps: list[str]
) -> None:
    read = surrogate.with_taps(taps)
    protected = optimise(read, photos, text, FeatureObjective(), EPSILON, 8, random())[8]
    steps = 255 * (protected - photos)
    assert steps.abs().max() == pytest.approx(EPSILON, abs=1e-3)
    assert torch.equal(protected, (255 * protected).round() / 255)
    assert 0 <= protected.min() <= protected.max() <= 1
    noise = white_noise(photos, rms255(protected - photos), EPSILON, random(1))
    draw = surrogate.draw(2, random(2), 0.75)
    with torch.no_grad():
        features = [read(photo, text, draw) for photo in (photos, protected, noise)]
    assert torch.all(feature_damage(features[0], features[1]) > 1.5 * feature_damage(features[0], features[2]))


@pytest.mark.parametrize("space", SPACES)
def test_every_space_lowers_the_loss_within_the_budget_and_repeats_itself(
    encoder: Surrogate, text: dict[str, Tensor], photos: Tensor, space: SpaceName
) -> None:
    settings = Settings(space, step=0.5)
    results = optimise(encoder, photos, text, FeatureObjective(), EPSILON, 6, random(), settings, keep=[0])
    for protected in results.values():
        assert 255 * (protected - photos).abs().max() <= EPSILON + 1e-3
        assert torch.equal(protected, (255 * protected).round() / 255)
    draw = encoder.draw(2, random(), 0.75)
    with torch.no_grad():
        clean, start, end = (encoder(photo, text, draw) for photo in (photos, results[0], results[6]))
        assert FeatureObjective()(clean, end, draw)[0] < 1.2 * FeatureObjective()(clean, start, draw)[0] < 0
    again = optimise(encoder, photos, text, FeatureObjective(), EPSILON, 6, random(), settings)
    assert torch.equal(again[6], results[6])


def test_lab_leaves_lightness_and_frequency_has_nothing_above_the_cutoff(
    encoder: Surrogate, text: dict[str, Tensor], colourful: Tensor
) -> None:
    """Steps so short that the budget cuts nothing: what is left outside the space is the rounding of the file."""
    still, residuals = torch.zeros_like(colourful), {}
    for space in SPACES:
        settings = Settings(space, step=0.1, decay=False, cutoff=0.25)
        residuals[space] = (
            optimise(encoder, colourful, text, LatentObjective("checker"), 32.0, 2, random(), settings, start=still)[2] - colourful
        )
        assert rms255(residuals[space]) > 2
    for space, low in (("lab", True), ("rgb", False), ("frequency", False)):
        change = (srgb_to_lab(colourful + residuals[space]) - srgb_to_lab(colourful))[:, 0].abs()
        assert (change.mean() < 0.15) == low  # a level of grey is 0.4
    for space, low in (("frequency", True), ("rgb", False), ("lab", False)):
        high = torch.from_numpy(dctn(255 * residuals[space].numpy(), axes=(2, 3), norm="ortho"))
        high[..., : HEIGHT // 4, : WIDTH // 4] = 0
        rest = high.square().mean().sqrt()
        assert (rest < 0.35) == low  # rounding to levels has an RMS of √(1/12) = 0.29


def test_a_long_run_passes_through_the_result_of_a_short_one(surrogate: Surrogate, text: dict[str, Tensor], photos: Tensor) -> None:
    results = optimise(surrogate, photos, text, FeatureObjective(), EPSILON, 3, random(), keep=[0, 2])
    assert sorted(results) == [0, 2, 3]
    short = optimise(surrogate, photos, text, FeatureObjective(), EPSILON, 2, random())
    assert torch.equal(results[2], short[2])
    assert not torch.equal(results[0], results[2])
    other = optimise(surrogate, photos, text, FeatureObjective(), EPSILON, 2, random(1))
    assert not torch.equal(other[2], short[2])


def test_photos_of_a_batch_are_independent(encoder: Surrogate, text: dict[str, Tensor], photos: Tensor) -> None:
    both = optimise(encoder, photos, text, FeatureObjective(), EPSILON, 2, random())[2]
    alone = optimise(encoder, photos[:1], text, FeatureObjective(), EPSILON, 2, random())[2]
    # equal but for gradients so near zero that the order of sums decides their sign
    assert (both[:1] == alone).float().mean() > 0.98


def test_one_step_follows_the_sign_of_the_gradient(encoder: Surrogate, text: dict[str, Tensor], photos: Tensor) -> None:
    settings = Settings(step=5.0)
    start, end = optimise(encoder, photos, text, FeatureObjective(), EPSILON, 1, random(), settings, keep=[0]).values()
    start = start.clone().requires_grad_()
    latents = [encoder.condition(photo)["latents"] for photo in (photos, start)]
    loss = -sum(((latents[1][i] - latents[0][i]) ** 2).mean() / latents[0][i].var(correction=0) for i in range(2))
    (gradient,) = torch.autograd.grad(loss, start)
    # a step over the whole budget from anywhere inside ends on its surface, or at black or white
    expected = (photos - EPSILON / 255 * gradient.sign()).clamp(0, 1)
    assert ((end - expected).abs() < 1e-6).float().mean() > 0.98


@pytest.mark.parametrize("space", SPACES)
def test_a_given_start_is_where_it_begins_bit_for_bit(
    encoder: Surrogate, text: dict[str, Tensor], photos: Tensor, space: SpaceName
) -> None:
    start_photo = white_noise(photos, torch.tensor([2.0, 3.0]), EPSILON, random(5))
    settings = Settings(space, step=0.25)
    results = optimise(encoder, photos, text, FeatureObjective(), EPSILON, 1, random(), settings, start=start_photo - photos, keep=[0])
    assert torch.equal(results[0], start_photo)
    change = 255 * (results[1] - start_photo)
    assert 0.3 < change.square().mean().sqrt() < 1.2  # a step of RMS 1, where neither budget nor black or white cuts it


def test_features_of_the_target_image_are_computed_where_there_is_one(
    surrogate: Surrogate, text: dict[str, Tensor], photos: Tensor
) -> None:
    read = surrogate.with_taps(["latent", "blocks.1"])
    for objective in (LatentObjective("grey"), AnchorObjective("checker")):
        results = optimise(read, photos, text, objective, EPSILON, 4, random(), Settings(step=0.5), keep=[0])
        draw = read.draw(2, random(), 0.75)
        assert objective.target_image is not None
        with torch.no_grad():
            aim = read(resize(objective.target_image[None], HEIGHT, WIDTH).expand(2, -1, -1, -1), text, draw)
            features = [read(photo, text, draw) for photo in (photos, results[0], results[4])]
        losses = [float(objective(features[0], one, draw, aim)[0]) for one in features]
        assert losses[2] < min(losses[:2])


def test_the_error_of_both_versions_is_measured_on_the_clean_photos_clip(
    surrogate: Surrogate, text: dict[str, Tensor], photos: Tensor
) -> None:
    class Watching(DiffusionObjective):
        def forward(
            self, clean: dict[str, Tensor], protected: dict[str, Tensor], draw: Draw, target: dict[str, Tensor] | None = None
        ) -> tuple[Tensor, dict[str, Tensor]]:
            draws.append(draw)
            return super().forward(clean, protected, draw, target)

    draws: list[Draw] = []
    optimise(surrogate.with_taps(["error"]), photos, text, Watching(1), EPSILON, 2, random(), Settings(min_sigma=0.1, max_sigma=0.8))
    first, second = draws
    assert first.reference is not None
    assert second.reference is not None
    assert torch.equal(first.reference, second.reference)
    assert all(0.1 <= draw.sigma <= 0.8 + 1e-5 for draw in draws)


class Darker(Transform):
    """Both versions are darkened, by an amount that is drawn."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: list[float] = []

    def forward(self, image: Tensor, generator: torch.Generator) -> Tensor:
        self.drawn.append(float(torch.rand(1, generator=generator)))
        return image * (0.5 + 0.5 * self.drawn[-1])


def test_both_versions_go_through_the_same_draw_of_the_transform(encoder: Surrogate, text: dict[str, Tensor], photos: Tensor) -> None:
    darker = Darker()
    results = optimise(encoder, photos, text, FeatureObjective(), EPSILON, 2, random(), Settings(transform=darker))
    assert darker.drawn[0] == darker.drawn[1] != darker.drawn[2] == darker.drawn[3]
    plain = optimise(encoder, photos, text, FeatureObjective(), EPSILON, 2, random())
    assert not torch.equal(results[2], plain[2])


def test_larger_photos_get_a_residual_at_their_own_size(encoder: Surrogate, text: dict[str, Tensor]) -> None:
    large = torch.rand(1, 3, 50, 70, generator=random()) * 0.5 + 0.25  # not on the grid either
    for space in SPACES:
        protected = optimise(encoder, large, text, FeatureObjective(), 2.5, 2, random(), Settings(space))[2]
        assert protected.shape == large.shape
        assert 1 < 255 * (protected - large).abs().max() <= 2.5 + 1e-3
        assert torch.equal(protected, (255 * protected).round() / 255)


def test_epsilon_zero_changes_nothing(encoder: Surrogate, text: dict[str, Tensor], photos: Tensor) -> None:
    for space in SPACES:
        results = optimise(encoder, photos, text, FeatureObjective(), 0.0, 1, random(), Settings(space))
        assert torch.equal(results[1], photos)


def test_steps_shorten_whatever_their_total() -> None:
    assert step_length(0, 8.0) == 8.0
    assert step_length(30, 8.0) == 4.0  # 8 / √4
    assert Settings(step=0.5).length(30, 6.0) == 1.5
    assert Settings(step=0.5, decay=False).length(30, 6.0) == 3.0


class Broken(Objective):
    """Not a number from the second draw on."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def forward(
        self, clean: dict[str, Tensor], protected: dict[str, Tensor], draw: Draw, target: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        self.seen += 1
        return sum(value.sum() for value in protected.values()) * (float("nan") if self.seen > 1 else 1.0), {}


def test_unusable_input_is_refused_with_the_value(encoder: Surrogate, text: dict[str, Tensor], photos: Tensor) -> None:
    with pytest.raises(UsageError, match="the loss of step 1 is nan"):
        optimise(encoder, photos, text, Broken(), EPSILON, 5, random())
    with pytest.raises(UsageError, match=r"keep is \[9\] and steps 5"):
        optimise(encoder, photos, text, FeatureObjective(), EPSILON, 5, random(), keep=[9])
    with pytest.raises(UsageError, match="space is 'hsv'; choose one of rgb, lab, frequency, dual"):
        optimise(encoder, photos, text, FeatureObjective(), EPSILON, 5, random(), Settings(space="hsv"))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="cutoff is 0"):
        optimise(encoder, photos, text, FeatureObjective(), EPSILON, 5, random(), Settings(space="dual", cutoff=0))
    with pytest.raises(UsageError, match="epsilon 99"):
        optimise(encoder, photos, text, FeatureObjective(), 99, 5, random())
