"""The feature distance against numbers worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from anti_i2v.errors import UsageError
from anti_i2v.objectives import FeatureObjective
from anti_i2v.surrogates import Draw

DRAW = Draw(step=0, timestep=torch.tensor(999), sigma=1.0, noise=torch.zeros(2, 1))
# photo 0: mean 2, variance 1; photo 1: mean 0, variance 4
CLEAN = torch.tensor([[[1.0], [3.0]], [[-2.0], [2.0]]])
# squared distances (1 + 9) / 2 = 5 and (4 + 0) / 2 = 2, over the variances 5 and 0.5
PROTECTED = torch.tensor([[[2.0], [0.0]], [[0.0], [2.0]]])


def test_distance_is_mse_over_the_photos_own_variance() -> None:
    loss, parts = FeatureObjective()({"a": CLEAN}, {"a": PROTECTED}, DRAW)
    assert float(parts["a"]) == pytest.approx((5 + 0.5) / 2)
    assert float(loss) == pytest.approx(-2.75)
    assert loss.shape == ()
    assert not parts["a"].requires_grad


def test_scale_of_a_tap_does_not_matter() -> None:
    one, _ = FeatureObjective()({"a": CLEAN}, {"a": PROTECTED}, DRAW)
    thousand, _ = FeatureObjective()({"a": CLEAN * 1000 + 7}, {"a": PROTECTED * 1000 + 7}, DRAW)
    assert float(thousand) == pytest.approx(float(one), rel=1e-5)


def test_taps_are_averaged_with_their_weights() -> None:
    clean, protected = {"a": CLEAN, "b": CLEAN}, {"a": PROTECTED, "b": CLEAN}
    assert float(FeatureObjective()(clean, protected, DRAW)[0]) == pytest.approx(-2.75 / 2)
    assert float(FeatureObjective({"a": 3.0, "b": 1.0})(clean, protected, DRAW)[0]) == pytest.approx(-2.75 * 3 / 4)


def test_gradient_pushes_away_and_only_through_the_protected_features() -> None:
    clean, protected = CLEAN.clone().requires_grad_(), PROTECTED.clone().requires_grad_()
    loss, _ = FeatureObjective()({"a": clean}, {"a": protected}, DRAW)
    loss.backward()
    assert clean.grad is None
    # d loss / d p = −2 (p − c) / (2 values · variance · 2 photos)
    expected = -(PROTECTED - CLEAN) / (2 * torch.tensor([1.0, 4.0]).view(2, 1, 1))
    torch.testing.assert_close(protected.grad, expected)


def test_reduced_precision_features_are_compared_in_single() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, _ = FeatureObjective()({"a": CLEAN.bfloat16()}, {"a": PROTECTED.bfloat16()}, DRAW)
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(-2.75)


def test_constant_features_give_a_number() -> None:
    loss, _ = FeatureObjective()({"a": torch.ones(2, 3)}, {"a": torch.ones(2, 3)}, DRAW)
    assert float(loss) == 0


def test_centred_leaves_out_what_all_tokens_of_a_frame_share() -> None:
    # photo 0: difference 1, −3 → without its mean −1: 2, −2; photo 1: 2, 0 → 1, −1; over the variances 1 and 4
    loss, _ = FeatureObjective(centred=True)({"a": CLEAN}, {"a": PROTECTED}, DRAW)
    assert float(loss) == pytest.approx(-(4 + 0.25) / 2)
    two = replace(DRAW, frames=2)  # two latent frames of one token each: nothing is left
    assert float(FeatureObjective(centred=True)({"a": CLEAN}, {"a": PROTECTED}, two)[0]) == 0
    assert float(FeatureObjective()({"a": CLEAN}, {"a": PROTECTED}, two)[0]) == pytest.approx(-2.75)


def test_centred_maps_lose_a_tint_and_keep_a_pattern() -> None:
    clean = torch.tensor([1.0, -1.0]).view(1, 1, 1, 1, 2)  # variance 1
    tint, pattern = clean + 5, clean + torch.tensor([3.0, -3.0])
    objective = FeatureObjective(centred=True)
    assert float(objective({"a": clean}, {"a": tint}, DRAW)[0]) == 0
    assert float(objective({"a": clean}, {"a": pattern + 5}, DRAW)[0]) == pytest.approx(-9)


def test_tokens_that_do_not_fit_the_frames_are_refused() -> None:
    three = replace(DRAW, frames=3)
    with pytest.raises(UsageError, match=r"\(2, 2, 1\) are no tokens .* of 3 latent frames"):
        FeatureObjective(centred=True)({"a": CLEAN}, {"a": PROTECTED}, three)


@pytest.mark.parametrize("weights", [{"a": -1.0}, {"a": 0.0}, {"a": float("nan")}, {"a": float("inf")}, {}])
def test_unusable_weights_are_refused(weights: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="weights must be finite, not negative, and one of them positive"):
        FeatureObjective(weights)


def test_weights_must_name_the_taps() -> None:
    with pytest.raises(UsageError, match="FeatureObjective needs the taps b; add b to the taps"):
        FeatureObjective({"b": 1.0})({"a": CLEAN}, {"a": PROTECTED}, DRAW)


def test_taps_without_a_weight_are_there_for_other_objectives() -> None:
    objective = FeatureObjective({"a": 3.0})
    assert objective.needs == ("a",)
    loss, parts = objective({"a": CLEAN, "b": CLEAN}, {"a": PROTECTED, "b": CLEAN}, DRAW)
    assert float(loss) == pytest.approx(-2.75)
    assert list(parts) == ["a"]


def test_a_window_counts_a_spot_and_neither_a_tint_nor_a_slope() -> None:
    clean = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    objective = FeatureObjective(window=3)
    slope = torch.arange(8.0).expand(1, 1, 8, 8)
    tinted, _ = objective({"a": clean}, {"a": clean + 5}, DRAW)
    assert float(tinted) == pytest.approx(0, abs=1e-10)
    # Reflected at the edges, a slope of 1 has local means that differ from it by 2/3 in the first and last column only.
    sloped, _ = objective({"a": clean}, {"a": clean + slope}, DRAW)
    variance = float(clean.var(unbiased=False))
    assert float(sloped) == pytest.approx(-(2 * (2 / 3) ** 2 / 8) / variance, rel=1e-4)
    # A spot of height 9 keeps 8 of it and lowers its eight neighbours by 1.
    spot = torch.zeros(1, 1, 8, 8)
    spot[0, 0, 4, 4] = 9
    spotted, _ = objective({"a": clean}, {"a": clean + spot}, DRAW)
    assert float(spotted) == pytest.approx(-(8**2 + 8 * 1**2) / 64 / variance, rel=1e-4)


def test_tokens_have_no_window() -> None:
    plain, _ = FeatureObjective()({"a": CLEAN}, {"a": PROTECTED}, DRAW)
    assert FeatureObjective(window=9)({"a": CLEAN}, {"a": PROTECTED}, DRAW)[0] == plain


@pytest.mark.parametrize("window", [1, 4, -3])
def test_a_window_that_has_no_middle_is_refused(window: int) -> None:
    with pytest.raises(UsageError, match=f"window is {window}; give an odd number"):
        FeatureObjective(window=window)


def test_maps_smaller_than_the_window_are_refused() -> None:
    small = torch.rand(1, 1, 4, 4)
    with pytest.raises(UsageError, match="maps of 4 x 4 are too small for a window of 9"):
        FeatureObjective(window=9)({"a": small}, {"a": small}, DRAW)


def test_balanced_frames_are_each_measured_by_themselves_and_count_alike() -> None:
    # two latent frames of two tokens: variances 1 and 4; they move by 1 each and by 2 and 4
    clean = torch.tensor([1.0, 3.0, -2.0, 2.0]).view(1, 4, 1)
    other = clean + torch.tensor([1.0, 1.0, 2.0, 4.0]).view(1, 4, 1)
    two = replace(DRAW, frames=2)
    loss, _ = FeatureObjective(balance=True)({"a": clean}, {"a": other}, two)
    assert float(loss) == pytest.approx(-(math.log(1 + 1) + math.log(1 + 10 / 4)) / 2)


def test_winning_the_photos_own_frame_is_not_enough() -> None:
    clean = torch.tensor([1.0, -1.0]).repeat(4).view(1, 8, 1)  # four latent frames of variance 1
    first = clean + torch.tensor([4.0, 4.0, 0, 0, 0, 0, 0, 0]).view(1, 8, 1)
    every = clean + 2  # the same mean square
    four = replace(DRAW, frames=4)
    plain, balanced = (lambda other, b=b: float(FeatureObjective(balance=b)({"a": clean}, {"a": other}, four)[0]) for b in (False, True))
    assert plain(first) == pytest.approx(plain(every))
    assert balanced(every) < 2 * balanced(first)


def test_the_photo_itself_is_no_damage_unless_it_is_named() -> None:
    clean = {"decoded": torch.tensor([[[[0.0, 1.0]]]]), "photo": torch.zeros(1, 1, 1, 2), "error": torch.zeros(1, 1, 1, 1, 2)}
    other = {"decoded": torch.tensor([[[[0.5, 1.5]]]]), "photo": torch.full((1, 1, 1, 2), 9.0), "error": torch.ones(1, 1, 1, 1, 2)}
    loss, parts = FeatureObjective()(clean, other, DRAW)
    assert loss.item() == pytest.approx(-1.0)  # 0.5² / Var(0, 1)
    assert list(parts) == ["decoded"]  # what the denoiser gets wrong has an objective of its own
    del clean["decoded"], other["decoded"]
    with pytest.raises(UsageError, match="no taps are left to compare; name layers"):
        FeatureObjective()(clean, other, DRAW)
