"""The adversary of the identity judge."""

from __future__ import annotations

import torch

from anti_i2v.embedders import IdentityEmbedder
from anti_i2v.evaluation.judge_attack import attack_judge


def test_the_attack_stays_within_epsilon_and_misleads_more_than_noise() -> None:
    torch.manual_seed(0)
    judge = IdentityEmbedder(dim=8, size=32, width=8).eval().requires_grad_(False)
    video = torch.rand(2, 1, 3, 32, 32) * 0.8 + 0.1
    worse = attack_judge(judge, video, 8.0, 5, torch.Generator().manual_seed(0))
    assert (worse - video).abs().max() <= 8.0 / 255.0 + 1e-6
    noisy = video + (torch.rand(video.shape) - 0.5).sign() * 8.0 / 255.0
    clean = judge(video)
    assert ((judge(worse) * clean).sum(1) < (judge(noisy) * clean).sum(1)).all()
