"""What the stages are fed with."""

from __future__ import annotations

from pathlib import Path

import torch

from anti_i2v.portraits import PortraitClips
from anti_i2v.portraits.training import pipeline
from anti_i2v.portraits.training.data import FrameAndClipData
from anti_i2v.portraits.training.latents import LatentData, face_share
from tests.tiny.stages import BANK


def test_frames_and_clips_come_in_the_configured_share() -> None:
    data = FrameAndClipData(frames=3, clips=2, clip_share_start=0.25, clip_share_end=0.25, fresh=0.0, **BANK)  # type: ignore[arg-type]
    data.setup("fit")
    stream = iter(data.train_dataloader())
    shapes = [tuple(next(stream)["video"].shape) for _ in range(8)]  # type: ignore[union-attr]
    assert shapes == [(3, 1, 3, 32, 32)] * 3 + [(2, 5, 3, 32, 32)] + [(3, 1, 3, 32, 32)] * 3 + [(2, 5, 3, 32, 32)]


def test_validation_clips_are_those_of_the_validation_split() -> None:
    data = FrameAndClipData(**BANK)  # type: ignore[arg-type]
    data.setup("validate")
    (batch,) = list(data.val_dataloader())
    truth = PortraitClips("validation", num_frames=5, height=32, width=32).batch(range(4))
    assert (batch["video"] - truth.video).abs().max() <= 0.5 / 255 + 1e-6
    assert batch["prompt"] == truth.prompts
    assert data.bank is None  # nothing is rendered for training


def test_latents_are_normalised_as_the_pipeline_does_it(trained_autoencoder: Path) -> None:
    data = LatentData(str(trained_autoencoder), batch_size=2, **BANK)  # type: ignore[arg-type]
    data.setup("fit")
    assert data.training_batch()["latents"].shape == (2, 4, 3, 2, 2)  # type: ignore[union-attr]
    truth = PortraitClips("validation", num_frames=5, height=32, width=32).batch(range(4))
    vae = pipeline.load_autoencoder(trained_autoencoder)
    raw = vae.encode(truth.video.transpose(1, 2) * 2 - 1).latent_dist.mode()
    mean, std = (torch.tensor(v).view(1, -1, 1, 1, 1) for v in (vae.config.latents_mean, vae.config.latents_std))
    torch.testing.assert_close(data.validation[0]["latents"], (raw - mean) / std, rtol=1e-4, atol=1e-4)


def test_the_share_of_a_face_equals_the_hand_computed_value() -> None:
    mask = torch.zeros(1, 5, 1, 4, 4)
    mask[0, 0, 0, :2, :2] = 1  # the first frame has a latent frame of its own: its face fills the upper left cell
    mask[0, 1] = 1  # of frames 1 and 2, one is all face
    mask[0, 3, 0, 3, 3] = 1  # one pixel of 2 frames x 2 x 2
    mask[0, 4, 0, 0, 3] = 0.5  # half a pixel of them
    share = face_share(mask, (3, 2, 2))
    assert share.shape == (1, 1, 3, 2, 2)
    assert share[0, 0].tolist() == [[[1, 0], [0, 0]], [[0.5, 0.5], [0.5, 0.5]], [[0, 0.0625], [0, 0.125]]]


def test_latents_come_with_the_share_of_the_face_in_each_cell(trained_autoencoder: Path) -> None:
    data = LatentData(str(trained_autoencoder), batch_size=2, **BANK)  # type: ignore[arg-type]
    data.setup("validate")
    truth = PortraitClips("validation", num_frames=5, height=32, width=32).batch(range(4)).face_mask[:, :, 0]
    cells = truth.view(4, 5, 2, 16, 2, 16).mean((3, 5))
    expected = torch.stack([cells[:, 0], (cells[:, 1] + cells[:, 2]) / 2, (cells[:, 3] + cells[:, 4]) / 2], dim=1)
    torch.testing.assert_close(data.validation[0]["face"], expected.unsqueeze(1))
    assert data.validation[0]["latents"].shape == (4, 4, 3, 2, 2)  # type: ignore[union-attr]  # the share is no channel of theirs
