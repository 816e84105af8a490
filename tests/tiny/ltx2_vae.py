"""The autoencoder of LTX-2, which SANA-Video shares, tiny and with random weights; see `tests.tiny`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from diffusers import AutoencoderKLLTX2Video

CHANNELS = 8


def tiny_ltx2_vae() -> AutoencoderKLLTX2Video:
    """An autoencoder with four times fewer frames and 16 times fewer rows and columns: 32×64, 9 frames → latents (8, 3, 2, 4)."""
    from diffusers import AutoencoderKLLTX2Video

    vae = AutoencoderKLLTX2Video(
        latent_channels=CHANNELS,
        block_out_channels=(8, 16),
        down_block_types=("LTX2VideoDownBlock3D",) * 2,
        layers_per_block=(1, 1, 1),
        spatio_temporal_scaling=(True, True),
        downsample_type=("spatiotemporal", "spatiotemporal"),
        decoder_block_out_channels=(8, 16),
        decoder_layers_per_block=(1, 1, 1),
        decoder_spatio_temporal_scaling=(True, True),
        decoder_inject_noise=(False, False, False),
        upsample_type=("spatiotemporal", "spatiotemporal"),
        upsample_residual=(True, True),
        upsample_factor=(2, 2),
        patch_size=4,
        spatial_compression_ratio=16,
        temporal_compression_ratio=4,
    )
    vae.latents_mean.copy_(torch.linspace(-0.5, 0.5, CHANNELS))
    vae.latents_std.copy_(torch.linspace(0.5, 2.0, CHANNELS))
    return vae
