"""The third stage: the judge of actions."""

from __future__ import annotations

from pathlib import Path

import torch

from anti_i2v.evaluation.actions import load_action_classifier
from anti_i2v.portraits import ACTIONS, PortraitClips
from anti_i2v.portraits.training.actions import ActionClassifierModule, worsen
from anti_i2v.portraits.training.data import ClipData
from tests.tiny.stages import BANK, fit


def test_worsened_clips_keep_shape_and_range_and_repeat_with_the_seed() -> None:
    video = PortraitClips("train", num_frames=5, height=32, width=32).batch(range(8)).video
    once, again = (worsen(video, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(once, again)
    assert once.shape == video.shape
    assert once.min() >= 0
    assert once.max() <= 1
    changed = (once - video).flatten(1).abs().mean(1)
    assert (changed > 0.005).any()
    assert (changed < 0.2).all()  # still the same clip


def test_a_still_clip_stays_still_but_for_light_and_noise() -> None:
    still = PortraitClips("train", num_frames=1, height=32, width=32).batch(range(6)).video.expand(-1, 5, -1, -1, -1)
    frames = worsen(still, torch.Generator().manual_seed(0)).mean(2)
    assert (frames[:, 1:] - frames[:, :1]).flatten(1).square().mean(1).sqrt().max() < 0.13


def test_training_writes_a_folder_that_loads(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = ActionClassifierModule(str(tmp_path / "judge"), backbone="mobilenetv3_small_050", num_frames=5, size=32, width=0)
    fit(module, ClipData(batch_size=4, **BANK), 2, tmp_path)  # type: ignore[arg-type]
    judge = load_action_classifier(tmp_path / "judge")
    assert judge.actions == {action.name: list(action.prompts) for action in ACTIONS}
    video = torch.rand(2, 5, 3, 32, 32)
    assert module.classifier is not None
    torch.testing.assert_close(judge(video), module.classifier.eval()(video), rtol=0.02, atol=0.02)
    assert sorted(p.name for p in (tmp_path / "judge").iterdir()) == ["config.json", "model.safetensors"]
