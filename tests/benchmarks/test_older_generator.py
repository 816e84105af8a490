"""A generator of format 1 from the history: loaded into today's network, it paints at full strength, and refused for what it is not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from anti_i2v.errors import UsageError
from anti_i2v.inference.windows import Window
from anti_i2v.protector import Protector
from benchmarks.older_generator import older_generator, stored

COMMIT = "266c0e7"


def in_history() -> bool:
    try:
        return bool(stored(COMMIT, "config.json"))
    except UsageError:
        return False


@pytest.mark.skipif(not in_history(), reason="this checkout lacks the history")
def test_it_paints_at_full_strength_without_a_key(tmp_path: Path) -> None:
    older_generator(COMMIT).save_pretrained(tmp_path / "older", card="# older\n")
    protector = Protector.from_pretrained(tmp_path / "older", backend="torch")
    photo = torch.full((1, 3, 64, 64), 0.5)
    keys = torch.randn(2, 1, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        one, other = (protector(photo, 8.0, key, [[Window(0, 0, 64, 1.0)]]) for key in keys)
    assert torch.equal(one, other)
    residual = (one - photo)[..., 16:48, 16:48] * 255
    assert 4 < residual.square().mean().sqrt() <= 8
    assert residual.abs().max() <= 8.001


def test_what_is_not_there_or_not_of_format_1_is_refused() -> None:
    with pytest.raises(UsageError, match=r"no config.json of portrait-generator at nothing .*run this in a clone with its whole history"):
        older_generator("nothing")
