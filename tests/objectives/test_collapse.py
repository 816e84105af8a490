"""IRC against numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch

from anti_i2v.errors import UsageError
from anti_i2v.objectives import CollapseObjective
from anti_i2v.surrogates import Draw

DRAW = Draw(step=0, timestep=torch.tensor(999), sigma=1.0, noise=torch.zeros(2, 1))


def tokens(*photos: tuple[float, float]) -> torch.Tensor:
    return torch.tensor(photos, dtype=torch.float32).unsqueeze(2)


# of the photos only the shallow layer counts, by its variances 1 and 4
CLEAN = {"blocks.3": tokens((1, 3), (-2, 2)), "blocks.10": tokens((9, 9), (9, 9)), "blocks.11": tokens((9, 9), (9, 9))}
PROTECTED = {"blocks.3": tokens((1, 1), (0, 0)), "blocks.10": tokens((2, 4), (2, 2)), "blocks.11": tokens((1, 1), (0, 4))}


def test_it_is_the_distance_of_the_protected_photos_own_layers_over_the_spread_of_the_shallow_one() -> None:
    # blocks.10: (1 + 9) / 2 = 5 over 1, and 4 over 4; blocks.11: 0, and (0 + 16) / 2 = 8 over 4
    loss, parts = CollapseObjective(["blocks.10", "blocks.11"], "blocks.3")(CLEAN, PROTECTED, DRAW)
    assert {tap: float(value) for tap, value in parts.items()} == pytest.approx({"blocks.10": 3.0, "blocks.11": 1.0})
    assert float(loss) == pytest.approx(2.0)
    assert loss.shape == ()


def test_the_papers_own_form_is_the_mean_square_itself() -> None:
    loss, _ = CollapseObjective(["blocks.10", "blocks.11"], "blocks.3", normalise=False)(CLEAN, PROTECTED, DRAW)
    assert float(loss) == pytest.approx(((5 + 4) / 2 + (0 + 8) / 2) / 2)


def test_a_step_against_the_gradient_makes_deep_and_shallow_more_alike() -> None:
    leaves = {tap: value.clone().requires_grad_() for tap, value in PROTECTED.items()}
    objective = CollapseObjective(["blocks.10", "blocks.11"], "blocks.3")
    loss, _ = objective(CLEAN, leaves, DRAW)
    loss.backward()
    steps = {}
    for tap, leaf in leaves.items():
        assert leaf.grad is not None
        assert float(leaf.grad.abs().max()) > 0  # the shallow layer is met half way
        steps[tap] = leaf.detach() - 0.1 * leaf.grad
    assert objective(CLEAN, steps, DRAW)[0] < loss


def test_deep_must_come_after_shallow_in_the_order_of_computation() -> None:
    with pytest.raises(UsageError, match=r"the deep tap blocks\.3 is computed before the shallow blocks\.10; name a deeper one, or swap"):
        CollapseObjective(["blocks.11", "blocks.3"], "blocks.10")(CLEAN, PROTECTED, DRAW)
    with pytest.raises(UsageError, match=r"deep is blocks\.3, shallow is blocks\.3; name deep taps that come after"):
        CollapseObjective(["blocks.3"], "blocks.3")
    with pytest.raises(UsageError, match=r"deep is empty, shallow is blocks\.3"):
        CollapseObjective([], "blocks.3")


def test_layers_of_other_shapes_are_refused_and_those_that_go_together_are_named() -> None:
    shapes = {"down.0": (4, 3, 8, 8), "down.1": (8, 3, 4, 4), "up.0": (8, 3, 4, 4), "up.1": (4, 3, 8, 8)}
    features = {tap: torch.zeros(2, *shape) for tap, shape in shapes.items()}
    message = "up.1 and the shallow down.1 have different shapes; name taps of one shape "
    message += "(4 x 3 x 8 x 8: down.0, up.1; 8 x 3 x 4 x 4: down.1, up.0)"
    with pytest.raises(UsageError) as caught:
        CollapseObjective(["up.1"], "down.1")(features, features, DRAW)
    assert message in str(caught.value)


def test_missing_taps_are_named() -> None:
    objective = CollapseObjective(["blocks.10", "blocks.11"], "blocks.3")
    assert objective.needs == ("blocks.3", "blocks.10", "blocks.11")
    with pytest.raises(UsageError, match=r"CollapseObjective needs the taps .*; add blocks\.3, blocks\.11 to the taps"):
        objective({"blocks.10": CLEAN["blocks.10"]}, {"blocks.10": PROTECTED["blocks.10"]}, DRAW)
