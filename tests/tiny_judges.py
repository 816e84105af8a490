"""Untrained judges of the real classes, small enough for a test."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from anti_i2v.evaluation.actions import ActionClassifier
from anti_i2v.evaluation.identity import IdentityJudge, save_identity_judge
from anti_i2v.portraits import ACTIONS
from tests.tiny import FRAMES


def tiny_judge() -> IdentityJudge:
    """A judge of identity that sees a face everywhere; the weights are always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        judge = IdentityJudge(dim=8, size=32)
    with torch.no_grad():
        judge.network.get_classifier().bias[-1] = 9.0
    return judge.eval().requires_grad_(False)


def tiny_actions(frames: int = FRAMES) -> ActionClassifier:
    """A classifier of all actions."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ActionClassifier([action.name for action in ACTIONS], frames, "mobilenetv3_small_050", 32).eval()


def write_judges(folder: Path) -> tuple[Path, Path]:
    """Write both as users find them; the folders of the judge of identity and of the classifier of actions."""
    identity, actions = folder / "identity", folder / "actions"
    save_identity_judge(tiny_judge(), identity)
    actions.mkdir()
    (actions / "config.json").write_text(json.dumps(tiny_actions().config()), encoding="utf-8")
    save_file(dict(tiny_actions().state_dict()), actions / "model.safetensors")
    return identity, actions
