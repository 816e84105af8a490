from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def trained_autoencoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline folder with the autoencoder that two steps of the first stage wrote; do not change it."""
    import torch

    from anti_i2v.portraits.training.autoencoder import AutoencoderModule
    from anti_i2v.portraits.training.data import FrameAndClipData
    from tests.tiny.stages import BANK, VAE, fit

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("video_model")
    module = AutoencoderModule(str(folder / "portrait-dit"), **VAE, latent_noise=0.1)  # type: ignore[arg-type]
    data = FrameAndClipData(frames=2, clips=1, clip_share_start=0.5, clip_share_end=0.5, **BANK)  # type: ignore[arg-type]
    fit(module, data, 2, folder)
    return folder / "portrait-dit"
