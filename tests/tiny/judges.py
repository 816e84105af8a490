"""Untrained judges of the real classes, small enough for a test."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from anti_i2v.embedders import IdentityEmbedder, save_embedder
from anti_i2v.evaluation.actions import ActionClassifier
from anti_i2v.portraits import ACTIONS
from tests.tiny import FRAMES


def tiny_judge() -> IdentityEmbedder:
    """A judge of identity that sees a face everywhere; the weights are always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        judge = IdentityEmbedder(dim=8, size=32)
    with torch.no_grad():
        judge.network.get_classifier().bias[-1] = 9.0
    return judge.eval().requires_grad_(False)


def tiny_faces(seed: int = 1, face: float = 0.0) -> IdentityEmbedder:
    """An identity embedder of random weights, other ones for each seed; `face` is the bias of its face logit.

    Its statistics are those of random pictures, so that it tells pictures apart: with none, all embeddings are nearly alike.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        network = IdentityEmbedder(dim=8, size=32, width=8)
        for module in network.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.momentum = 1.0
        network.embed(torch.nn.functional.interpolate(torch.rand(32, 3, 8, 8), (32, 32), mode="bilinear"))
        network.network.get_classifier().bias[-1] = face
    return network.eval().requires_grad_(False)


def write_faces(folder: Path, seed: int = 1) -> Path:
    """Write an identity embedder that objectives may attack; the folder."""
    save_embedder(tiny_faces(seed), folder, "objective")
    return folder


def tiny_actions(frames: int = FRAMES) -> ActionClassifier:
    """A classifier of all actions."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ActionClassifier({action.name: action.prompts for action in ACTIONS}, frames, "mobilenetv3_small_050", 32).eval()


def write_judges(folder: Path) -> tuple[Path, Path]:
    """Write both as users find them; the folders of the judge of identity and of the classifier of actions."""
    identity, actions = folder / "identity", folder / "actions"
    save_embedder(tiny_judge(), identity, "judge")
    actions.mkdir()
    (actions / "config.json").write_text(json.dumps(tiny_actions().config()), encoding="utf-8")
    save_file(dict(tiny_actions().state_dict()), actions / "model.safetensors")
    return identity, actions
