"""The first stage: what is minimised, and what lies in the folder afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from anti_i2v.portraits import PortraitClips
from anti_i2v.portraits.training import pipeline
from anti_i2v.pretraining.reconstruction import reconstruction_loss
from tests.tiny.stages import BANK


def test_the_loss_of_a_constant_error_has_no_edges() -> None:
    video = torch.full((1, 1, 3, 8, 8), 0.5)
    # 0.1 of [0, 1] is 0.2 of [-1, 1]: L1 0.2, MSE 0.04.
    assert reconstruction_loss(video + 0.1, video, torch.ones(1)).item() == pytest.approx(0.24, abs=1e-6)


def test_the_loss_of_one_wrong_column_counts_its_edges() -> None:
    video = torch.zeros(1, 1, 1, 4, 4)
    wrong = video.clone()
    wrong[..., 1] = 0.5  # an error of 1 in 4 of 16 values; two steps of 1 in each row of 3 differences
    once = 4 / 16 + 4 / 16 + 8 / 12
    assert reconstruction_loss(wrong, video, torch.ones(1)).item() == pytest.approx(once, abs=1e-6)
    # Where faces count nine times, an error in a face costs nine times as much.
    assert reconstruction_loss(wrong, video, torch.full((1, 1, 1, 4, 4), 9.0)).item() == pytest.approx(9 * once, abs=1e-5)


def test_the_folder_holds_the_statistics_of_its_own_latents(trained_autoencoder: Path) -> None:
    config = json.loads((trained_autoencoder / "vae" / "config.json").read_text(encoding="utf-8"))
    vae = pipeline.load_autoencoder(trained_autoencoder)
    clips = PortraitClips("validation", num_frames=BANK["num_frames"], height=32, width=32).batch(range(4))  # type: ignore[arg-type]
    latents = pipeline.encode(vae, clips.video).transpose(0, 1).flatten(1)
    torch.testing.assert_close(torch.tensor(config["latents_mean"]), latents.mean(1), rtol=0.02, atol=0.01)
    torch.testing.assert_close(torch.tensor(config["latents_std"]), latents.std(1), rtol=0.02, atol=0.01)


def test_the_folders_posterior_has_the_noise_of_the_training(trained_autoencoder: Path) -> None:
    vae = pipeline.load_autoencoder(trained_autoencoder)
    posterior = vae.encode(torch.rand(1, 3, 1, 32, 32)).latent_dist
    torch.testing.assert_close(posterior.std, torch.full_like(posterior.std, 0.1), rtol=2e-3, atol=0)


def test_the_folder_names_no_path_of_the_machine(trained_autoencoder: Path) -> None:
    assert str(trained_autoencoder.parent) not in (trained_autoencoder / "vae" / "config.json").read_text(encoding="utf-8")
