"""Tiny LTX-Video pipelines with random weights, built without a download; see `tests.tiny`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tests.tiny import tiny_tokenizer
from tests.tiny.parts import TEXT, tiny_pipeline, tiny_t5

if TYPE_CHECKING:
    from diffusers import AutoencoderKLLTXVideo, DiffusionPipeline, FlowMatchEulerDiscreteScheduler, LTXVideoTransformer3DModel

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


def tiny_denoiser(blocks: int) -> LTXVideoTransformer3DModel:
    """An LTX transformer of width 32."""
    from diffusers import LTXVideoTransformer3DModel

    return LTXVideoTransformer3DModel(
        in_channels=LATENTS[0],
        out_channels=LATENTS[0],
        num_attention_heads=2,
        attention_head_dim=16,
        cross_attention_dim=32,
        num_layers=blocks,
        caption_channels=TEXT,
    )


@tiny_pipeline
def tiny_ltx(version: str = "0.9") -> DiffusionPipeline:
    """LTX 0.9, the same with the autoencoder of 0.9.1, or 0.9.5, which has another pipeline; three blocks `transformer_blocks.…`."""
    from diffusers import LTXConditionPipeline, LTXImageToVideoPipeline

    conditioned = version == "0.9.5"
    return (LTXConditionPipeline if conditioned else LTXImageToVideoPipeline)(
        scheduler=tiny_scheduler(**({"use_dynamic_shifting": False, "shift_terminal": None} if conditioned else {})),
        vae=tiny_vae(version),
        text_encoder=tiny_t5(),
        tokenizer=tiny_tokenizer(),
        transformer=tiny_denoiser(3),
    )


tiny_ltx_timed = partial(tiny_ltx, version="0.9.1")
tiny_ltx_condition = partial(tiny_ltx, version="0.9.5")


def noise_of_clip_and_photo(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """What `LTXConditionPipeline` draws for its first step: noise for the clip, then for all tokens, used on the photo's only."""
    _, channels, frames, rows, columns = shape
    noise = torch.randn(shape, generator=generator)
    tokens = torch.randn(1, frames * rows * columns, channels, generator=generator)
    noise[:, :, 0] = tokens.view(1, frames, rows, columns, channels)[:, 0].permute(0, 3, 1, 2)
    return noise
