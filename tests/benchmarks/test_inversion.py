"""The subtraction of a generator's residual, with its own key, with others, and with many."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from anti_i2v.generators import BackboneGenerator
from anti_i2v.inference.windows import Window
from anti_i2v.protector import Protector
from benchmarks.inversion import BEST, Adversary, attack, estimates, invert, wrong_keys
from tests.tiny.training import BACKBONE

WINDOWS = [[Window(2, 2, 28, 1.0)]] * 2


def tiny(keyed: bool = True) -> Protector:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Protector(BackboneGenerator(**BACKBONE, keyed=keyed, salience=None).eval())  # type: ignore[arg-type]


def test_one_step_undoes_what_does_not_depend_on_the_photo() -> None:
    """A generator that adds a constant is subtracted exactly; half of it by factor 0.5; more steps change nothing."""
    clean = torch.full((2, 3, 8, 8), 100 / 255)
    for factor, rest in ((1.0, 0.0), (0.5, 4.0)):
        for estimate in invert(clean + 8 / 255, lambda photos: torch.full_like(photos, 8 / 255), factor, (1, 5)).values():
            assert (255 * (estimate - clean)).mean() == pytest.approx(rest, abs=1e-3)


def test_the_key_of_a_photo_undoes_more_than_another_and_the_best_of_all_keys_is_found() -> None:
    """The photo's own key among those that are tried is the best for it, since nothing else comes as near to the clean photo."""
    protector, clean = tiny(), torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)) / 2 + 0.25
    keys = wrong_keys(protector, 4)
    assert keys.shape == (4, 32)
    with torch.no_grad():
        protected = protector(clean, 8.0, keys[2:], WINDOWS)  # the first photo's is number 2, the second's number 3

    def like(photos: Tensor) -> Tensor:
        return -(photos - clean).square().flatten(1).mean(1)

    adversary = Adversary(protector, 8.0, keys, WINDOWS, (1, 3))
    likeness, worst = attack(adversary, protected, like, 2, "test")
    assert next(iter(worst)) == BEST
    assert len(worst) == 3
    assert (likeness[BEST] >= torch.stack(list(likeness.values()))).all()
    assert (likeness["best of 4 keys, factor 1, 1 step"] > likeness["a wrong key, factor 1, 1 step"]).all()
    assert (likeness["best of 4 keys, factor 1, 1 step"] > like(protected)).all()
    assert len(likeness) == 1 + 7 + 6 * 3 * 2 + 5 * 6  # BEST, means of all keys, then factors, ways and numbers of steps; other colours


def test_a_generator_without_keys_is_subtracted_once_whatever_number_is_asked_for() -> None:
    protector = tiny(keyed=False)
    assert wrong_keys(protector, 100).shape == (1, 32)
    adversary = Adversary(protector, 8.0, wrong_keys(protector, 100), WINDOWS, (1, 2))
    names = [name for name, _ in estimates(adversary, torch.full((2, 3, 32, 32), 0.5), lambda photos: photos.flatten(1).mean(1))]
    assert names[:2] == ["factor -1, 1 step", "factor -1, 2 steps"]
    assert len(names) == 12 + 30
    assert names[12] == "residual of the photo red and green swapped, factor -1"
