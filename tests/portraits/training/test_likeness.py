"""The face loss, and the training that leaves the encoder alone for it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from anti_i2v.embedders import load_embedder
from anti_i2v.errors import UsageError
from anti_i2v.portraits import PortraitClips
from anti_i2v.portraits.training import pipeline
from anti_i2v.portraits.training.autoencoder import AutoencoderModule
from anti_i2v.portraits.training.data import FrameAndClipData
from anti_i2v.portraits.training.likeness import FaceLoss
from tests.tiny.stages import BANK, VAE, fit


def test_the_loss_is_one_less_the_cosine_where_a_face_is_seen() -> None:
    clips = PortraitClips("validation", num_frames=2, height=64, width=64).batch(range(3))
    rebuilt = clips.video.roll(1, 0)  # each is rebuilt as somebody else
    face = clips.face_mask.clone()
    face[0] = 0  # nobody is seen in the first: its frames do not count
    loss = FaceLoss(2.0, ["portrait-faces-2"])
    network = load_embedder("portrait-faces-2", "objective")
    cosine = F.cosine_similarity(network.embed_frames(rebuilt)[0], network.embed_frames(clips.video)[0], dim=-1)
    torch.testing.assert_close(loss(rebuilt, clips.video, face), 2.0 * (1.0 - cosine[1:]).mean(), rtol=1e-4, atol=1e-5)
    assert loss(clips.video, clips.video, face).item() == pytest.approx(0.0, abs=1e-5)


def test_without_weight_no_network_is_held() -> None:
    loss = FaceLoss(0.0)
    assert loss.networks == []
    assert loss(torch.rand(1, 1, 3, 8, 8), torch.rand(1, 1, 3, 8, 8), torch.ones(1, 1, 1, 8, 8)).item() == 0.0


def test_the_judge_and_a_negative_weight_are_refused() -> None:
    with pytest.raises(UsageError, match="is for the role 'judge', not 'objective'"):
        FaceLoss(1.0, ["portrait-judge"])
    with pytest.raises(UsageError, match="likeness_weight is -1"):
        FaceLoss(-1.0)


def test_decoder_only_training_changes_the_decoder_alone(trained_autoencoder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "portrait-dit"
    shutil.copytree(trained_autoencoder, folder)
    before = load_file(folder / "vae" / "diffusion_pytorch_model.safetensors")
    module = AutoencoderModule(str(folder), **VAE, resume_weights=True, decoder_only=True, likeness_weight=0.5)  # type: ignore[arg-type]
    fit(module, FrameAndClipData(frames=2, clips=1, clip_share_start=0.5, clip_share_end=0.5, **BANK), 2, tmp_path)  # type: ignore[arg-type]
    after = load_file(folder / "vae" / "diffusion_pytorch_model.safetensors")
    mean = pipeline.load_autoencoder(folder).config.z_dim  # behind it stands the posterior's variance, which is written, not learned
    same = {name: torch.equal(value, after[name]) for name, value in before.items() if not name.startswith("quant_conv")}
    assert all(value for name, value in same.items() if name.startswith("encoder."))
    assert not any(value for name, value in same.items() if name.startswith("decoder.conv_in"))
    assert torch.equal(before["quant_conv.weight"][:mean], after["quant_conv.weight"][:mean])
    configs = [json.loads((path / "vae" / "config.json").read_text(encoding="utf-8")) for path in (trained_autoencoder, folder)]
    assert configs[0]["latents_mean"] == configs[1]["latents_mean"]
    assert configs[0]["latents_std"] == configs[1]["latents_std"]


def test_a_decoder_cannot_learn_beside_a_random_encoder() -> None:
    with pytest.raises(UsageError, match="set resume_weights too"):
        AutoencoderModule(decoder_only=True)
