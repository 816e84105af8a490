"""Per-photo methods on tiny models: each goes where it says within the budget."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from anti_i2v.attacks import METHODS, named_method
from anti_i2v.attacks.anti_i2v import VARIANTS, anti_i2v
from anti_i2v.errors import UsageError
from anti_i2v.evaluation.noise import white_noise
from anti_i2v.objectives import WeightedObjective
from anti_i2v.surrogates import Surrogate
from anti_i2v.training.feature_loss import feature_loss
from tests.tiny import FRAMES, HEIGHT, WIDTH, tiny_portrait_dit
from tests.tiny.unet import FRAMES as UNET_FRAMES
from tests.tiny.unet import tiny_portrait_unet

EPSILON = 8.0


@pytest.fixture(scope="module", params=["transformer", "unet"])
def surrogate(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Surrogate:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "transformer":
        return Surrogate.from_pretrained(str(tiny_portrait_dit(folder)), ["photo"], HEIGHT, WIDTH, FRAMES, 4)
    return Surrogate.from_pretrained(str(tiny_portrait_unet(folder)), ["photo"], 16, 16, UNET_FRAMES, 4)


@pytest.fixture(scope="module")
def photo() -> Tensor:
    """Larger than the surrogates see it, colourful."""
    small = torch.rand(1, 3, 5, 4, generator=torch.Generator().manual_seed(0)) * 0.6 + 0.2
    return torch.nn.functional.interpolate(small, (24, 40), mode="bicubic").mul(255).round() / 255


def loss(name: str, surrogate: Surrogate, photo: Tensor, other: Tensor) -> float:
    """What the method minimises, at draws that it did not see."""
    method, random, text = named_method(name, surrogate), torch.Generator().manual_seed(99), surrogate.encode_text(["a person nods"])
    read, losses = surrogate.with_taps(method.taps), []
    with torch.no_grad():
        for _ in range(2):
            draw = surrogate.draw(1, random, method.settings.min_sigma, method.settings.max_sigma)
            losses.append(float(feature_loss(read, method.objective, photo, other, text, draw)[0]))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("name", METHODS)
def test_it_goes_down_from_a_random_start_within_the_budget(surrogate: Surrogate, photo: Tensor, name: str) -> None:
    method, text = named_method(name, surrogate), surrogate.encode_text(["a person nods"])
    results = method.run(surrogate, photo, text, EPSILON, torch.Generator().manual_seed(1), 4, keep=[0])
    for protected in results.values():
        assert 255 * (protected - photo).abs().max() <= EPSILON + 1e-3
        assert torch.equal(protected, (255 * protected).round() / 255)
    if name not in ("sds+", "sds-", "identity"):  # an inner product without a meaning; an untrained autoencoder that shows nobody
        assert loss(name, surrogate, photo, results[4]) < loss(name, surrogate, photo, results[0])
    assert not torch.equal(results[0], results[4])
    assert surrogate.taps == ("photo",)


def test_methods_of_one_seed_are_equal_and_the_two_signs_of_sds_part(surrogate: Surrogate, photo: Tensor) -> None:
    text = surrogate.encode_text(["a person nods"])
    up, again, down = (
        named_method(name, surrogate).run(surrogate, photo, text, EPSILON, torch.Generator().manual_seed(1), 2, keep=[0])
        for name in ("sds+", "sds+", "sds-")
    )
    assert torch.equal(up[2], again[2])
    assert torch.equal(up[0], down[0])
    first, second = (one[2] - one[0] for one in (up, down))
    assert torch.cosine_similarity(first.flatten(), second.flatten(), dim=0) < -0.3


def test_a_refinement_starts_at_the_given_residual_with_short_steps(surrogate: Surrogate, photo: Tensor) -> None:
    text = surrogate.encode_text(["a person nods"])
    begun = white_noise(photo, torch.tensor([2.0]), EPSILON, torch.Generator().manual_seed(5))
    for name, length in (("identity", EPSILON / 2), ("photoguard", EPSILON / 8)):
        method = named_method(name, surrogate)
        results = method.run(surrogate, photo, text, EPSILON, torch.Generator().manual_seed(1), 4, start=begun - photo, keep=[0, 1])
        assert torch.equal(results[0], begun)
        assert 0 < 255 * (results[1] - begun).abs().max() <= length + 1e-3
    assert loss("photoguard", surrogate, photo, results[4]) < loss("photoguard", surrogate, photo, begun)


def test_anti_i2v_has_all_of_the_papers_parts_where_the_paper_puts_them(surrogate: Surrogate) -> None:
    method = named_method("anti-i2v", surrogate)
    assert isinstance(method.objective, WeightedObjective)
    assert set(method.objective.objectives) == {"collapse", "anchor", "diffusion", "perceptual"}
    assert method.objective.target_image is not None
    assert method.settings.space == "dual"
    assert {"error", "decoded", "vae.encoder.mid_block"} <= set(method.taps)
    assert named_method("photoguard", surrogate).taps == ("latent",)  # no denoiser


def test_each_variant_of_the_ablation_adds_one_part_and_the_last_is_the_method(surrogate: Surrogate, photo: Tensor) -> None:
    variants = {name: anti_i2v(surrogate, variant=name) for name in VARIANTS}
    parts = {name: set(variant.objective.get_submodule("objectives")._modules) for name, variant in variants.items()}
    spaces = {name: variant.settings.space for name, variant in variants.items()}
    assert list(variants) == ["rgb", "lab", "dual", "irc", "ira", "full"]
    assert [spaces[name] for name in variants] == ["rgb", "lab", "dual", "dual", "dual", "dual"]
    assert parts["rgb"] == parts["lab"] == parts["dual"] == {"diffusion"}
    for before, name, part in (("dual", "irc", "collapse"), ("irc", "ira", "anchor"), ("ira", "full", "perceptual")):
        assert parts[name] - parts[before] == {part}
        assert parts[before] < parts[name]
    # What is read grows with the parts, and nothing else of the settings changes.
    assert set(variants["rgb"].taps) == {"error"}
    layers = [tap for tap in variants["irc"].taps if tap != "error"]
    assert layers
    assert not any(tap.startswith("vae.") for tap in layers)
    assert set(variants["irc"].taps) < set(variants["ira"].taps)
    assert set(variants["full"].taps) == {*variants["ira"].taps, "decoded"}
    assert {replace(variant.settings, space="dual") for variant in variants.values()} == {variants["full"].settings}
    assert {variant.steps for variant in variants.values()} == {200}
    full = named_method("anti-i2v", surrogate)
    assert (full.taps, full.settings, full.steps) == (variants["full"].taps, variants["full"].settings, variants["full"].steps)
    text = surrogate.encode_text(["a person nods"])
    photos = [variant.run(surrogate, photo, text, EPSILON, torch.Generator().manual_seed(1), 2)[2] for variant in (full, variants["full"])]
    assert torch.equal(*photos)
    with pytest.raises(UsageError, match="no variant 'top'; there are rgb, lab, dual, irc, ira, full"):
        anti_i2v(surrogate, variant="top")


def test_layers_can_be_named_where_a_method_chooses_some(surrogate: Surrogate) -> None:
    names = ("blocks.0", "blocks.2", "blocks.3") if surrogate.has_text else ("down_blocks.1", "mid_block")
    method = named_method("anti-i2v", surrogate, names)
    collapse = method.objective.get_submodule("objectives.collapse")
    assert (collapse.shallow, collapse.deep) == (names[0], list(names[1:]))
    assert [tap for tap in method.taps if "block" in tap and not tap.startswith("vae.")] == list(names)
    assert named_method("i2vguard", surrogate, names).taps == ("latent", *names)
    with pytest.raises(UsageError, match="only mid_block; name two or more"):
        named_method("anti-i2v", surrogate, ("mid_block",))
    with pytest.raises(UsageError, match=f"the deep tap {names[0]} is computed before the shallow {names[1]}; name the shallow one first"):
        named_method("anti-i2v", surrogate, (names[1], names[0]))
    with pytest.raises(UsageError, match="advdm chooses no layers, so taps mid_block have no place"):
        named_method("advdm", surrogate, ("mid_block",))
    with pytest.raises(UsageError, match="no method 'magic'; there are noise, photoguard, advdm"):
        named_method("magic", surrogate)


def test_published_steps_and_their_lengths_as_shares_of_epsilon(surrogate: Surrogate) -> None:
    methods = {name: named_method(name, surrogate) for name in METHODS}
    assert {name: (method.steps, method.settings.step) for name, method in methods.items()} == {
        "photoguard": (200, 1 / 8),  # 2 of 16
        "advdm": (100, 1 / 16),  # 1 of 16
        "mist": (100, 1 / 16),
        "sds+": (100, 1 / 16),
        "sds-": (100, 1 / 16),
        "i2vguard": (50, 1 / 8),
        "anti-i2v": (200, 1 / 4),
        "identity": (200, 1),
    }
