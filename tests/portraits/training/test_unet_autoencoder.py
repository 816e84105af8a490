"""The second video model's first stage: it rebuilds clips, and its folder says the same with latents of one scale."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from anti_i2v.errors import UsageError
from anti_i2v.portraits import PortraitClips
from anti_i2v.portraits.training import unet_pipeline
from anti_i2v.portraits.training.data import FrameAndClipData
from anti_i2v.portraits.training.unet_autoencoder import UnetAutoencoderModule
from tests.tiny.stages import BANK, fit

VAE = {"channels": (32, 32), "latent_channels": 4}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, UnetAutoencoderModule]:
    """Two steps of the stage."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("unet")
    module = UnetAutoencoderModule(str(folder / "video_model"), **VAE, latent_noise=0.1)  # type: ignore[arg-type]
    data = FrameAndClipData(frames=2, clips=1, clip_share_start=0.5, clip_share_end=0.5, **BANK)  # type: ignore[arg-type]
    fit(module, data, 2, folder)
    return folder / "video_model", module


def clips() -> torch.Tensor:
    return PortraitClips("validation", num_frames=5, height=32, width=32).batch(range(4)).video


def test_the_folders_latents_have_mean_square_one_in_every_channel(trained: tuple[Path, UnetAutoencoderModule]) -> None:
    vae = unet_pipeline.load_autoencoder(trained[0])
    with torch.no_grad():
        square = unet_pipeline.encode(vae, clips()).square().mean((0, 1, 3, 4))
    torch.testing.assert_close(square, torch.ones(4), rtol=0.02, atol=0.01)
    assert vae.config.scaling_factor == 1.0


def test_the_folder_rebuilds_what_the_trained_network_rebuilds(trained: tuple[Path, UnetAutoencoderModule]) -> None:
    mine, loaded = trained[1].vae, unet_pipeline.load_autoencoder(trained[0])
    assert mine is not None
    mine.eval()
    with torch.no_grad():
        first, second = (unet_pipeline.decode(vae, unet_pipeline.encode(vae, clips())) for vae in (mine, loaded))
    torch.testing.assert_close(second, first, rtol=0, atol=0.01)  # half precision


def test_the_folders_posterior_has_the_noise_of_the_training(trained: tuple[Path, UnetAutoencoderModule]) -> None:
    posterior = unet_pipeline.load_autoencoder(trained[0]).encode(torch.rand(1, 3, 32, 32)).latent_dist
    expected = (0.1 / trained[1].latents_rms).view(1, -1, 1, 1).expand_as(posterior.std)
    torch.testing.assert_close(posterior.std, expected, rtol=1e-2, atol=0)


def test_an_autoencoder_with_another_latent_starts_from_a_trained_one(trained: tuple[Path, UnetAutoencoderModule], tmp_path: Path) -> None:
    video_model = str(trained[0])
    module = UnetAutoencoderModule(str(tmp_path), (32, 32), 8, start_from=video_model)
    module.configure_model()
    assert module.vae is not None
    own, weights = module.vae.state_dict(), unet_pipeline.load_autoencoder(trained[0]).state_dict()
    changed = {name.rpartition(".")[0] for name, value in own.items() if value.shape != weights[name].shape}
    assert changed == {"encoder.conv_out", "quant_conv", "decoder.conv_in"}
    assert all(torch.equal(own[name], weights[name]) for name in own if own[name].shape == weights[name].shape)
    with pytest.raises(UsageError, match="has networks of other sizes"):
        UnetAutoencoderModule(str(tmp_path), (32, 64), start_from=video_model).configure_model()
    with pytest.raises(UsageError, match="set one of them"):
        UnetAutoencoderModule(video_model, resume_weights=True, start_from=video_model)


def test_channels_that_the_norms_cannot_divide_are_refused() -> None:
    with pytest.raises(UsageError, match=r"channels are \(32, 48\); each must be a multiple of 32"):
        unet_pipeline.build_autoencoder((32, 48), 4, 1)


def test_a_folder_without_an_autoencoder_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="pretrain_portrait_unet_autoencoder"):
        unet_pipeline.load_autoencoder(tmp_path)


def test_the_decoder_learns_alone_and_leaves_the_latents_as_they_are(trained: tuple[Path, UnetAutoencoderModule], tmp_path: Path) -> None:
    folder = tmp_path / "portrait-unet"
    shutil.copytree(trained[0], folder)
    before = unet_pipeline.load_autoencoder(folder)
    module = UnetAutoencoderModule(str(folder), **VAE, resume_weights=True, decoder_only=True, likeness_weight=0.5)  # type: ignore[arg-type]
    data = FrameAndClipData(frames=2, clips=1, clip_share_start=0.5, clip_share_end=0.5, **BANK)  # type: ignore[arg-type]
    fit(module, data, 2, tmp_path)
    after = unet_pipeline.load_autoencoder(folder)
    with torch.no_grad():
        latents = unet_pipeline.encode(before, clips())
        torch.testing.assert_close(unet_pipeline.encode(after, clips()), latents)
        assert (unet_pipeline.decode(after, latents) - unet_pipeline.decode(before, latents)).abs().max() > 1e-4
