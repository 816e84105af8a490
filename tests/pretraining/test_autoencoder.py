"""Autoencoders of diffusers' classes, trained on single photos."""

from __future__ import annotations

import json
from pathlib import Path

import diffusers
import pytest
import torch
from PIL import Image

from anti_i2v.data import FolderPhotos, PhotoDataModule
from anti_i2v.errors import UsageError
from anti_i2v.pretraining.autoencoder import PhotoAutoencoderModule
from tests.tiny.stages import fit

WAN = {"base_dim": 8, "z_dim": 4, "dim_mult": [1, 1], "num_res_blocks": 1, "temperal_downsample": [False]}
KL = {"block_out_channels": [8], "norm_num_groups": 4, "latent_channels": 4}
TINY = {
    "encoder_block_out_channels": [8, 8],
    "decoder_block_out_channels": [8, 8],
    "num_encoder_blocks": [1, 1],
    "num_decoder_blocks": [1, 1],
}
CLASSES = {"AutoencoderKLWan": WAN, "AutoencoderKL": KL, "AutoencoderTiny": TINY}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> PhotoDataModule:
    folder = tmp_path_factory.mktemp("photos")
    random = torch.Generator().manual_seed(0)
    for i in range(12):
        pixels = torch.randint(256, (4, 4, 3), generator=random, dtype=torch.uint8).numpy()
        Image.fromarray(pixels).resize((32, 32), Image.Resampling.BICUBIC).save(folder / f"{i:02}.png")
    return PhotoDataModule(FolderPhotos(folder), photo_size=32, batch_size=4)


@pytest.mark.parametrize("name", CLASSES)
def test_training_writes_a_folder_that_diffusers_loads_and_more_steps_rebuild_better(
    name: str, photos: PhotoDataModule, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    network = getattr(diffusers, name)
    network(**CLASSES[name]).save_config(tmp_path / "sizes")
    sizes, folder = tmp_path / "sizes" / "config.json", tmp_path / "vae"
    quality = []
    for resume, steps in ((False, 2), (True, 30)):
        module = PhotoAutoencoderModule(str(folder), sizes, resume, lr=2e-2, warmup=2, recoloured=0.5)
        quality.append(float(fit(module, photos, steps, tmp_path).callback_metrics["val/psnr"]))
    assert quality[1] > quality[0] + 1
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "diffusion_pytorch_model.safetensors"]
    loaded = network.from_pretrained(folder)
    pictures = torch.rand(1, 3, 1, 32, 32) if name == "AutoencoderKLWan" else torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        encoded = loaded.encode(pictures)
    if hasattr(encoded, "latent_dist"):  # the noise of the training is what a pipeline that samples draws
        assert encoded.latent_dist.std.mean() < 0.8  # on the way from 1 to 0.05


def test_a_description_of_something_else_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    module = PhotoAutoencoderModule(str(tmp_path))
    with pytest.raises(UsageError, match=r"config\.json describes no network of diffusers"):
        module.configure_model()
    file.write_text(json.dumps({"_class_name": "UNet2DModel"}))
    with pytest.raises(UsageError, match="names UNet2DModel, which is no autoencoder"):
        module.configure_model()
