"""Sums of objectives, worked out by hand."""

from __future__ import annotations

import pytest
import torch

from anti_i2v.errors import UsageError
from anti_i2v.objectives import AnchorObjective, FeatureObjective, LatentObjective, Objective, WeightedObjective
from anti_i2v.surrogates import Draw

DRAW = Draw(step=0, timestep=torch.tensor(999), sigma=1.0, noise=torch.zeros(2, 1))
# as in test_features.py: the distance is 2.75, and 2.125 without the mean over tokens
CLEAN = {"a": torch.tensor([[[1.0], [3.0]], [[-2.0], [2.0]]])}
PROTECTED = {"a": torch.tensor([[[2.0], [0.0]], [[0.0], [2.0]]])}


def both() -> dict[str, Objective]:
    return {"all": FeatureObjective(), "shape": FeatureObjective(centred=True)}


def test_loss_is_the_weighted_sum_and_the_parts_say_where_it_comes_from() -> None:
    loss, parts = WeightedObjective(both(), {"all": 2.0, "shape": 0.5})(CLEAN, PROTECTED, DRAW)
    assert float(loss) == pytest.approx(-2 * 2.75 - 0.5 * 2.125)
    assert loss.shape == ()
    values = {name: float(value) for name, value in parts.items()}
    assert values == pytest.approx({"all": -2.75, "all/a": 2.75, "shape": -2.125, "shape/a": 2.125})
    assert not any(value.requires_grad for value in parts.values())


def test_without_weights_all_count_alike() -> None:
    assert float(WeightedObjective(both())(CLEAN, PROTECTED, DRAW)[0]) == pytest.approx(-2.75 - 2.125)


def test_gradients_add_up_with_their_weights() -> None:
    gradients = []
    for objective in (WeightedObjective(both(), {"all": 3.0, "shape": 0.0}), FeatureObjective()):
        leaf = PROTECTED["a"].clone().requires_grad_()
        objective(CLEAN, {"a": leaf}, DRAW)[0].backward()
        assert leaf.grad is not None
        gradients.append(leaf.grad)
    torch.testing.assert_close(gradients[0], 3 * gradients[1])


def test_each_objective_needs_a_weight_and_no_other_has_one() -> None:
    with pytest.raises(UsageError, match="the weights name all, the objectives are all, shape; give each one a weight"):
        WeightedObjective(both(), {"all": 1.0})
    with pytest.raises(UsageError, match="the weights name all, else, shape"):
        WeightedObjective(both(), {"all": 1.0, "shape": 1.0, "else": 1.0})
    with pytest.raises(UsageError, match="the objectives are none"):
        WeightedObjective({})


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_unusable_weights_are_refused_with_their_name(weight: float) -> None:
    with pytest.raises(UsageError, match=f"weights must be finite and not negative; got {{'shape': {weight}}}"):
        WeightedObjective(both(), {"all": 1.0, "shape": weight})


def test_a_name_with_a_dot_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'wan2\.2' has a dot in its name"):
        WeightedObjective({"wan2.2": FeatureObjective()})


def test_it_needs_what_its_parts_need() -> None:
    parts = {"one": FeatureObjective({"a": 1.0, "b": 1.0}), "two": FeatureObjective({"b": 1.0, "c": 1.0}), "free": FeatureObjective()}
    objective = WeightedObjective(parts)
    assert objective.needs == ("a", "b", "c")
    with pytest.raises(UsageError, match="WeightedObjective needs the taps a, b, c; add b, c to the taps"):
        objective.check_taps(["a"])


class Reads(FeatureObjective):
    """Says that it reads these taps of clean photos."""

    def __init__(self, *taps: str) -> None:
        super().__init__()
        self.taps = taps

    @property
    def clean_taps(self) -> tuple[str, ...] | None:
        return self.taps


def test_it_reads_of_clean_photos_what_its_parts_read() -> None:
    assert WeightedObjective({"one": Reads("a", "b"), "two": Reads("b", "c"), "none": Reads()}).clean_taps == ("a", "b", "c")
    assert WeightedObjective({"none": Reads()}).clean_taps == ()
    assert WeightedObjective({"one": Reads("a"), "all": FeatureObjective()}).clean_taps is None


def test_only_parts_with_a_target_image_see_its_features() -> None:
    anchor = AnchorObjective("grey", weights={"a": 1.0}, balance=False)
    objective = WeightedObjective({"away": FeatureObjective(), "anchor": anchor}, {"away": 1.0, "anchor": 2.0})
    assert objective.target_image is not None
    assert torch.equal(objective.target_image, torch.full((3, 256, 256), 0.5))
    # the target is the clean photo here: the anchor pulls where the other pushes, by the same 2.75
    loss, _ = objective(CLEAN, PROTECTED, DRAW, CLEAN)
    assert float(loss) == pytest.approx(-2.75 + 2 * 2.75)
    assert WeightedObjective(both()).target_image is None


def test_one_target_image_for_all() -> None:
    same = WeightedObjective({"anchor": AnchorObjective("checker"), "latent": LatentObjective("checker")})
    assert same.target_image is not None
    WeightedObjective({"anchor": AnchorObjective("checker"), "latent": LatentObjective(away=True)})
    with pytest.raises(UsageError, match="anchor and latent have different target images; give them the same"):
        WeightedObjective({"anchor": AnchorObjective("checker"), "latent": LatentObjective("grey")})
