"""Tiny CogVideoX 1.0 and 1.5 pipelines with random weights, built without a download; see `tests.tiny`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from tests.tiny import tiny_tokenizer
from tests.tiny.parts import NO_CHANGES, TEXT, tiny_pipeline, tiny_t5

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

HEIGHT, WIDTH, FRAMES = 32, 48, 9
"""What the 1.0 pipeline has learned positions for."""
WORDS = 16
"""Length of every encoded prompt."""
SCALE = 0.7
"""The autoencoder's scaling factor."""


@tiny_pipeline
def tiny_cogvideox(
    newer: bool = False,
    scheduler: str = "CogVideoXDPMScheduler",
    denoiser: Mapping[str, Any] = NO_CHANGES,
    vae: Mapping[str, Any] = NO_CHANGES,
) -> DiffusionPipeline:
    """CogVideoX 1.0, or the newer 1.5, with three blocks `transformer_blocks.…`.

    Args:
        newer: Whether it is 1.5.
        scheduler: Class of the scheduler.
        denoiser: Changes to what the denoiser is built with.
        vae: Likewise.
    """
    import diffusers

    if newer:
        layout = {"sample_height": 40, "sample_width": 40, "sample_frames": 81, "patch_size_t": 2, "ofs_embed_dim": 8, "patch_bias": False}
    else:
        trained = {"sample_height": HEIGHT // 8, "sample_width": WIDTH // 8, "sample_frames": FRAMES}
        layout = {**trained, "use_learned_positional_embeddings": True}
    options = {
        "num_attention_heads": 2,
        "attention_head_dim": 16,
        "in_channels": 8,
        "out_channels": 4,
        "time_embed_dim": 8,
        "text_embed_dim": TEXT,
        "num_layers": 3,
        "max_text_seq_length": WORDS,
        "use_rotary_positional_embeddings": True,
        **layout,
        **denoiser,
    }
    transformer = diffusers.CogVideoXTransformer3DModel(**options)
    if not newer:  # trained positions are no sines any more
        transformer.patch_embed.pos_embedding.add_(torch.randn_like(transformer.patch_embed.pos_embedding))
    sizes = {"block_out_channels": (8, 8, 8, 8), "layers_per_block": 1, **vae}
    autoencoder = diffusers.AutoencoderKLCogVideoX(
        **sizes,
        down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
        latent_channels=4,
        norm_num_groups=2,
        scaling_factor=SCALE,
        invert_scale_latents=newer,
    )
    return diffusers.CogVideoXImageToVideoPipeline(
        tokenizer=tiny_tokenizer(WORDS),
        text_encoder=tiny_t5(),
        vae=autoencoder,
        transformer=transformer,
        scheduler=getattr(diffusers, scheduler)(
            prediction_type="v_prediction",
            snr_shift_scale=1.0,
            rescale_betas_zero_snr=True,
            timestep_spacing="trailing",
        ),
    )


tiny_cogvideox_15 = partial(tiny_cogvideox, newer=True)
