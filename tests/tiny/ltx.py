"""Tiny LTX-Video pipelines with random weights, built without a download; see `tests.tiny`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tests.tiny import TEXT, tiny_tokenizer

if TYPE_CHECKING:
    from diffusers import AutoencoderKLLTXVideo, DiffusionPipeline, FlowMatchEulerDiscreteScheduler

FRAMES = 9
HEIGHT, WIDTH = 32, 64
LATENTS = (8, 3, 2, 4)
"""Channels, frames, height and width: four times fewer frames, 16 times fewer rows and columns."""
TAPS = ("transformer_blocks.0", "transformer_blocks.1")
SHIFT = (4, 64, 0.95, 2.05)
"""Token counts between which the shift grows, and the shift at either; LTX's own are 1024 and 4096."""
TERMINAL = 0.1


def tiny_vae(version: str) -> AutoencoderKLLTXVideo:
    """The autoencoder of LTX 0.9, or that of 0.9.1 (a decoder with a timestep and noise of its own) or of 0.9.5 (a timestep, no noise)."""
    from diffusers import AutoencoderKLLTXVideo

    decoder = {
        "decoder_block_out_channels": (8, 16),
        "decoder_layers_per_block": (1, 1, 1),
        "decoder_spatio_temporal_scaling": (True, True),
        "decoder_inject_noise": (version == "0.9.1",) * 2 + (False,),
        "upsample_residual": (version != "0.9",) * 2,
        "upsample_factor": (1 if version == "0.9" else 2,) * 2,
        "timestep_conditioning": version != "0.9",
    }
    encoder = {
        "block_out_channels": (8, 16, 16),
        "down_block_types": ("LTXVideo095DownBlock3D" if version == "0.9.5" else "LTXVideoDownBlock3D",) * (2 if version == "0.9.5" else 3),
        "spatio_temporal_scaling": (True, True) if version == "0.9.5" else (True, True, False),
        "layers_per_block": (1,) * (3 if version == "0.9.5" else 4),
        "downsample_type": ("spatiotemporal",) * 2 if version == "0.9.5" else ("conv",) * 3,
    }
    vae = AutoencoderKLLTXVideo(latent_channels=LATENTS[0], patch_size=4, scaling_factor=0.7, **encoder, **decoder)
    vae.latents_mean.copy_(torch.linspace(-0.5, 0.5, LATENTS[0]))
    vae.latents_std.copy_(torch.linspace(0.5, 2.0, LATENTS[0]))
    for name, parameter in vae.named_parameters():
        if "per_channel_scale" in name:  # 0 at birth, which would hide the noise
            torch.nn.init.normal_(parameter, std=0.5)
    return vae


def tiny_scheduler(**changes: object) -> FlowMatchEulerDiscreteScheduler:
    """The scheduler of LTX 0.9 with `SHIFT` and `TERMINAL`, but for `changes`."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    names = ("base_image_seq_len", "max_image_seq_len", "base_shift", "max_shift")
    settings = {**dict(zip(names, SHIFT, strict=True)), "use_dynamic_shifting": True, "shift_terminal": TERMINAL}
    return FlowMatchEulerDiscreteScheduler(**(settings | changes))


def write(folder: str | Path, pipeline_class: type[DiffusionPipeline], version: str, scheduler: FlowMatchEulerDiscreteScheduler) -> Path:
    """Write a pipeline, its weights in half precision; the denoiser has `transformer_blocks.0` to `transformer_blocks.2`."""
    from diffusers import LTXVideoTransformer3DModel
    from transformers import T5Config, T5EncoderModel

    with torch.random.fork_rng(devices=[]):  # the caller's global random state stays as it was
        torch.manual_seed(0)
        transformer = LTXVideoTransformer3DModel(
            in_channels=LATENTS[0],
            out_channels=LATENTS[0],
            num_attention_heads=2,
            attention_head_dim=16,
            cross_attention_dim=32,
            num_layers=3,
            caption_channels=TEXT,
        )
        config = T5Config(vocab_size=48, d_model=TEXT, d_kv=8, d_ff=24, num_layers=2, num_heads=2, decoder_start_token_id=0)
        pipeline = pipeline_class(
            scheduler=scheduler,
            vae=tiny_vae(version).half(),
            text_encoder=T5EncoderModel(config).half(),
            tokenizer=tiny_tokenizer(),
            transformer=transformer.half(),
        )
    pipeline.save_pretrained(folder)
    return Path(folder)


def tiny_ltx(folder: str | Path) -> Path:
    """Write an image-to-video pipeline in the layout of LTX 0.9 and return the folder: `HEIGHT` × `WIDTH`, `FRAMES` frames."""
    from diffusers import LTXImageToVideoPipeline

    return write(folder, LTXImageToVideoPipeline, "0.9", tiny_scheduler())


def tiny_ltx_timed(folder: str | Path) -> Path:
    """Write the same with the autoencoder of LTX 0.9.1."""
    from diffusers import LTXImageToVideoPipeline

    return write(folder, LTXImageToVideoPipeline, "0.9.1", tiny_scheduler())


def tiny_ltx_condition(folder: str | Path) -> Path:
    """Write a pipeline in the layout of LTX 0.9.5 and later."""
    from diffusers import LTXConditionPipeline

    return write(folder, LTXConditionPipeline, "0.9.5", tiny_scheduler(use_dynamic_shifting=False, shift_terminal=None))


def noise_of_clip_and_photo(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """What `LTXConditionPipeline` draws for its first step: noise for the clip, then for all tokens, used on the photo's only."""
    _, channels, frames, rows, columns = shape
    noise = torch.randn(shape, generator=generator)
    tokens = torch.randn(1, frames * rows * columns, channels, generator=generator)
    noise[:, :, 0] = tokens.view(1, frames, rows, columns, channels)[:, 0].permute(0, 3, 1, 2)
    return noise
