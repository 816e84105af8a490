"""The judge of identity: what it is trained on, and that training writes a folder that loads."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from anti_i2v.evaluation.identity import load_identity_judge
from anti_i2v.portraits.training.people import PeopleData
from anti_i2v.pretraining.embedder import IdentityEmbedderModule, contrast
from tests.tiny.stages import fit


def test_contrast_is_the_cross_entropy_of_naming_the_other_view() -> None:
    views = F.normalize(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]), dim=1)
    by_hand = -torch.log(torch.tensor(1.0).exp() / (torch.tensor(1.0).exp() + 2.0))  # cosine 1 to its own, 0 to two others
    torch.testing.assert_close(contrast(views, torch.tensor(1.0)), by_hand)


def test_training_writes_a_folder_that_loads_and_recovers_from_a_resume(tmp_path: Path) -> None:
    torch.manual_seed(0)

    def module() -> IdentityEmbedderModule:
        return IdentityEmbedderModule(str(tmp_path / "judge"), "judge", dim=16, size=32, width=8)

    def data() -> PeopleData:
        return PeopleData(batch_people=3, faceless=5, people=4, start=4, scenes=3, frames=2, render=32, size=32, validation_people=4)

    first = module()
    fit(first, data(), 4, tmp_path)
    judge = load_identity_judge(tmp_path / "judge")
    video = torch.rand(2, 2, 3, 32, 32)
    assert first.network is not None
    torch.testing.assert_close(judge(video), first.network.eval()(video), rtol=0.02, atol=0.02)
    assert sorted(p.name for p in (tmp_path / "judge").iterdir()) == ["config.json", "model.safetensors"]
    trainer = fit(module(), data(), 6, tmp_path, tmp_path / "last.ckpt")
    assert trainer.global_step == 6


def test_residuals_keep_their_bound_and_move_against_the_weights() -> None:
    module = IdentityEmbedderModule("unused", "judge", dim=16, size=32)
    module.bound = torch.tensor([0.0, 4.0]).view(2, 1, 1, 1) / 255.0
    module.smooth = torch.tensor([False, False]).view(2, 1, 1, 1)
    module.residual = torch.zeros(2, 3, 32, 32, requires_grad=True)
    for _ in range(3):
        module.residual = module.residual.detach().requires_grad_()
        module.residual.grad = torch.ones_like(module.residual)
        module.on_after_backward()
    assert module.residual[0].abs().max() == 0
    assert module.residual[1].min() == pytest.approx(4.0 / 255.0)  # along the gradient: the loss rises
