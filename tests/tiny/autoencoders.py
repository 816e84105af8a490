"""Tiny autoencoders of many classes, alone, with random weights, built without a download; see `tests.tiny`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tests import tiny
from tests.tiny import hunyuan_video, hunyuan_video15, ltx
from tests.tiny.full import wan_vae
from tests.tiny.ltx2_vae import tiny_ltx2_vae

if TYPE_CHECKING:
    from diffusers import ModelMixin

TWO_LEVELS = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}


def _of(name: str, **config: Any) -> Callable[[], ModelMixin]:
    """What builds a class of diffusers from its configuration."""

    def build() -> ModelMixin:
        import diffusers

        vae: ModelMixin = getattr(diffusers, name)(**config)
        return vae

    return build


minimax_h3 = _of(
    "AutoencoderKLMiniMaxH3",
    latent_channels=4,
    block_out_channels=(8, 8, 8),
    layers_per_block=1,
    spatial_downsample_factors=(2, 2, 2),
    temporal_downsample_factors=(1, 2, 2),
    norm_num_groups=4,
    decoder_num_layers=1,
    decoder_num_attention_heads=2,
    decoder_attention_head_dim=16,
    latents_mean=(0.1, -0.2, 0.05, 0.0),
    latents_std=(1.5, 0.5, 0.8, 1.2),
)
cogvideox = _of(
    "AutoencoderKLCogVideoX",
    latent_channels=4,
    block_out_channels=(8, 8, 8, 8),
    layers_per_block=1,
    norm_num_groups=4,
    down_block_types=("CogVideoXDownBlock3D",) * 4,
    up_block_types=("CogVideoXUpBlock3D",) * 4,
)
svd = _of("AutoencoderKLTemporalDecoder", block_out_channels=(32, 32), down_block_types=("DownEncoderBlock2D",) * 2, latent_channels=4)

BUILDERS: Mapping[str, Callable[[], ModelMixin]] = {
    "AutoencoderKL": _of("AutoencoderKL", block_out_channels=(8, 8), norm_num_groups=4, latent_channels=4, **TWO_LEVELS),
    "AutoencoderKLFlux2": _of("AutoencoderKLFlux2", block_out_channels=(8, 8), norm_num_groups=4, latent_channels=4, **TWO_LEVELS),
    "AsymmetricAutoencoderKL": _of(
        "AsymmetricAutoencoderKL",
        down_block_out_channels=(8, 8),
        up_block_out_channels=(8, 8),
        norm_num_groups=4,
        latent_channels=4,
        **TWO_LEVELS,
    ),
    "AutoencoderKLHunyuanImage": _of(
        "AutoencoderKLHunyuanImage",
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        block_out_channels=(32, 32),
        layers_per_block=1,
        spatial_compression_ratio=2,
        sample_size=32,
    ),
    "AutoencoderKLTemporalDecoder": svd,
    "AutoencoderTiny": _of(
        "AutoencoderTiny",
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
    ),
    "AutoencoderDC": _of(
        "AutoencoderDC",
        attention_head_dim=2,
        encoder_block_types=("ResBlock", "EfficientViTBlock"),
        decoder_block_types=("ResBlock", "EfficientViTBlock"),
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        encoder_qkv_multiscales=((), (5,)),
        decoder_qkv_multiscales=((), (5,)),
        encoder_layers_per_block=(1, 1),
        decoder_layers_per_block=(1, 1),
        downsample_block_type="conv",
        upsample_block_type="interpolate",
        decoder_norm_types="rms_norm",
        decoder_act_fns="silu",
        latent_channels=4,
    ),
    "AutoencoderKLCogVideoX": cogvideox,
    "AutoencoderKLHunyuanVideo": hunyuan_video.tiny_vae,
    "AutoencoderKLHunyuanVideo15": hunyuan_video15.tiny_vae,
    "AutoencoderKLLTX2Video": tiny_ltx2_vae,
    "AutoencoderKLLTXVideo": lambda: ltx.tiny_vae("0.9.1"),
    "AutoencoderKLMiniMaxH3": minimax_h3,
    "AutoencoderKLQwenImage": _of(
        "AutoencoderKLQwenImage",
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 1],
        num_res_blocks=1,
        temperal_downsample=[True],
        latents_mean=[0.1, -0.2, 0.05, 0.0],
        latents_std=[1.5, 0.5, 0.8, 1.2],
    ),
    "AutoencoderKLWan": tiny.tiny_vae,
}
"""Class → what builds a tiny one: sizes of photos are multiples of 16."""

CONFIGS: Mapping[str, Callable[[], ModelMixin]] = {
    "wan21": lambda: wan_vae(12),
    "wan22-5b": lambda: wan_vae(4, is_residual=True, decoder_base_dim=8),
    "hunyuan-video": lambda: hunyuan_video.tiny_vae(4, 0),
    "hunyuan-video-15": hunyuan_video15.tiny_vae,
    "ltx": lambda: ltx.tiny_vae("0.9"),
    "ltx-2": tiny_ltx2_vae,
    "cogvideox": cogvideox,
    "svd": svd,
    "minimax-h3": minimax_h3,
    "taesd": BUILDERS["AutoencoderTiny"],
}
"""Name of a surrogate in configs/autoencoders_*.yaml → what builds a tiny one of its class."""


def write(build: Callable[[], ModelMixin], folder: Path) -> Path:
    """Write a tiny autoencoder into a folder; its weights are random, always the same, and in half precision."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vae = build()
    vae.half().save_pretrained(folder)
    return folder


def tiny_video_weights(
    patch: int = 1, channels: int = 4, width: int = 4, halves: tuple[bool, ...] = (True, True, False)
) -> dict[str, Tensor]:
    """Random weights in TAEHV's layout, its numbers of layers at a few channels; time is halved at some of three levels, and doubled again.

    Args:
        patch: Pixels of a patch, along a side.
        channels: Of the latents.
        width: Of the layers; the decoder's are 4, 2, 1 and 1 times as wide.
        halves: Level of the encoder → whether it halves time; of the decoder the other way round.
    """
    random = torch.Generator().manual_seed(0)
    weights: dict[str, Tensor] = {}

    def conv(name: str, before: int, after: int, size: int = 3, bias: bool = True) -> None:
        weights[f"{name}.weight"] = torch.randn(after, before, size, size, generator=random) / (before * size**2) ** 0.5
        if bias:
            weights[f"{name}.bias"] = 0.1 * torch.randn(after, generator=random)

    def blocks(part: str, start: int, wide: int) -> None:
        for i in range(start, start + 3):
            conv(f"{part}.{i}.conv.0", 2 * wide, wide)
            conv(f"{part}.{i}.conv.2", wide, wide)
            conv(f"{part}.{i}.conv.4", wide, wide)

    conv("encoder.0", 3 * patch**2, width)
    for level, half in enumerate(halves):
        start = 2 + 5 * level
        conv(f"encoder.{start}.conv", width * (1 + half), width, 1, bias=False)
        conv(f"encoder.{start + 1}", width, width, bias=False)
        blocks("encoder", start + 2, width)
    conv("encoder.17", width, channels)
    widths = [4 * width, 2 * width, width, width]
    conv("decoder.1", channels, widths[0])
    for level, half in enumerate(reversed(halves)):
        start, wide = 3 + 6 * level, widths[level]
        blocks("decoder", start, wide)
        conv(f"decoder.{start + 4}.conv", wide, wide * (1 + half), 1, bias=False)
        conv(f"decoder.{start + 5}", wide, widths[level + 1], bias=False)
    conv("decoder.22", widths[3], 3 * patch**2)
    return weights
