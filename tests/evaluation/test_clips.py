"""Measures on clips and features, against values worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from anti_i2v.errors import UsageError
from anti_i2v.evaluation.clips import check_finite, clip_changes, feature_damage, fidelity, flicker, mean_damage
from anti_i2v.surrogates import Surrogate
from tests.tiny import FRAMES, HEIGHT, WIDTH, tiny_portrait_dit


def test_movement_is_the_rms_of_the_difference_in_255ths() -> None:
    clean = torch.full((1, 3, 3, 4, 4), 0.5)
    clip = clean.clone()
    clip[:, 0] += 3 / 255
    clip[:, 2] -= 4 / 255
    changes = clip_changes(clip, clean)
    assert changes["first_frame_change"].item() == pytest.approx(3, abs=1e-4)
    assert changes["last_frame_change"].item() == pytest.approx(4, abs=1e-4)
    assert changes["clip_change"].item() == pytest.approx((25 / 3) ** 0.5, abs=1e-4)


def test_flicker_is_the_mean_step_from_frame_to_frame() -> None:
    video = torch.tensor([0.0, 2.0, 1.0, 1.0]).view(1, 4, 1, 1, 1).expand(1, 4, 3, 2, 2) / 255
    assert flicker(video).item() == pytest.approx(1.0)
    assert flicker(video[:, :1]).item() == 0
    assert clip_changes(video, torch.zeros_like(video))["flicker_change"].item() == pytest.approx(1.0)


def test_feature_damage_is_relative_to_the_spread_within_each_photo_and_averages_taps() -> None:
    clean = {"a": torch.tensor([[[-1.0, 1.0]], [[-10.0, 10.0]]]), "b": torch.tensor([[0.0, 2.0], [0.0, 2.0]])}
    other = {"a": clean["a"] + 1, "b": clean["b"]}
    assert torch.allclose(feature_damage(clean, other), torch.tensor([0.5, 0.005]))


def test_a_changed_photo_is_no_damage_of_what_the_model_makes_of_it(tmp_path: Path) -> None:
    surrogate = Surrogate.from_pretrained(str(tiny_portrait_dit(tmp_path)), ["blocks.1", "photo"], HEIGHT, WIDTH, FRAMES, 4)
    text, clean = surrogate.encode_text(["a person nods"]), torch.rand(2, 3, HEIGHT, WIDTH)
    other = (clean + 0.05).clamp(0, 1)
    damage = mean_damage(surrogate, clean, other, text, seed=0, draws=2)
    torch.testing.assert_close(damage, mean_damage(surrogate.with_taps(["blocks.1"]), clean, other, text, seed=0, draws=2))
    assert bool((damage > 0).all())
    assert surrogate.taps == ("blocks.1", "photo")


def test_fidelity_of_a_clip_to_the_clean_clip_and_of_its_first_frame_to_the_photo() -> None:
    from skimage.metrics import structural_similarity

    random = torch.Generator().manual_seed(0)
    clean = torch.nn.functional.interpolate(torch.rand(2, 3, 8, 8, generator=random), (32, 32), mode="bicubic").clamp(0, 1)
    clean = torch.stack([clean, clean.flip(-1)], 1)
    clip = (clean + 0.1 * torch.randn(clean.shape, generator=random)).clamp(0, 1)
    same, changes = fidelity(clean, clean, clean[:, 0] - 0.1), fidelity(clip, clean, clean[:, 0])
    torch.testing.assert_close(same["ssim"], torch.ones(2))
    torch.testing.assert_close(same["photo_psnr"], torch.full((2,), 20.0), rtol=0, atol=1e-3)
    # scikit-image, set to what Wang et al. 2004 describe; the whole map, because torchmetrics leaves out no border
    settings = {"data_range": 1.0, "channel_axis": 0, "gaussian_weights": True, "use_sample_covariance": False, "full": True}
    pairs = zip(clip.flatten(0, 1), clean.flatten(0, 1), strict=True)
    expected = [structural_similarity(a.numpy(), b.numpy(), **settings)[1].mean() for a, b in pairs]
    torch.testing.assert_close(changes["ssim"], torch.tensor(expected).view(2, 2).mean(1).float(), rtol=0, atol=1e-2)
    assert torch.all(changes["dynamic_degree"] > 0)


def test_what_is_not_finite_is_named_with_its_version() -> None:
    values = torch.ones(3, 2)
    check_finite("protected", clips=values)
    values[1, 0] = float("nan")
    with pytest.raises(UsageError, match="clips of 1 of 3 photos, version 'white noise, equal RMS', hold NaN"):
        check_finite("white_noise", clips=values)
