"""The learning rate over a run."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from anti_i2v.training.schedule import share_of_run, warmup_cosine
from tests.tiny.training import tiny_trainer


def test_rises_to_one_then_falls_to_two_percent() -> None:
    assert warmup_cosine(0, 4, 0.0) == pytest.approx(0.25)
    assert warmup_cosine(4, 4, 0.0) == pytest.approx(1.0)
    assert warmup_cosine(50, 4, 0.5) == pytest.approx(0.51)
    assert warmup_cosine(100, 4, 1.0) == pytest.approx(0.02)


def test_steps_or_time_whichever_is_further(tmp_path: Path) -> None:
    assert share_of_run(tiny_trainer(tmp_path, max_steps=8), 2) == 0.25
    timed = tiny_trainer(tmp_path, max_steps=-1, max_epochs=-1, max_time=timedelta(hours=1))
    assert share_of_run(timed, 10**6) == pytest.approx(0.0, abs=0.01)
    nearly_over = next(c for c in timed.callbacks if type(c).__name__ == "Timer")
    nearly_over._offset = 2700.0  # as after a resume: 45 minutes are spent
    assert share_of_run(timed, 1) == pytest.approx(0.75, abs=0.01)
