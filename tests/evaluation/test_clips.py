"""Measures on clips and features, against values worked out by hand."""

from __future__ import annotations

import pytest
import torch

from anti_i2v.evaluation.clips import feature_damage, flicker, movement


def test_movement_is_the_rms_of_the_difference_in_255ths() -> None:
    clean = torch.full((1, 3, 3, 4, 4), 0.5)
    clip = clean.clone()
    clip[:, 0] += 3 / 255
    clip[:, 2] -= 4 / 255
    moved = movement(clip, clean)
    assert moved["first_frame"].item() == pytest.approx(3, abs=1e-4)
    assert moved["last_frame"].item() == pytest.approx(4, abs=1e-4)
    assert moved["all_frames"].item() == pytest.approx((25 / 3) ** 0.5, abs=1e-4)


def test_flicker_is_the_mean_step_from_frame_to_frame() -> None:
    video = torch.tensor([0.0, 2.0, 1.0, 1.0]).view(1, 4, 1, 1, 1).expand(1, 4, 3, 2, 2) / 255
    assert flicker(video).item() == pytest.approx(1.0)
    assert flicker(video[:, :1]).item() == 0
    assert movement(video, torch.zeros_like(video))["flicker_change"].item() == pytest.approx(1.0)


def test_feature_damage_is_relative_to_the_spread_within_each_photo_and_averages_taps() -> None:
    clean = {"a": torch.tensor([[[-1.0, 1.0]], [[-10.0, 10.0]]]), "b": torch.tensor([[0.0, 2.0], [0.0, 2.0]])}
    other = {"a": clean["a"] + 1, "b": clean["b"]}
    assert torch.allclose(feature_damage(clean, other), torch.tensor([0.5, 0.005]))
