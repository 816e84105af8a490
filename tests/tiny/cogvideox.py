"""Tiny CogVideoX 1.0 and 1.5 pipelines with random weights, built without a download; see `tests.tiny`."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch

from tests.tiny import TEXT, tiny_tokenizer

HEIGHT, WIDTH, FRAMES = 32, 48, 9
"""What the 1.0 pipeline has learned positions for."""
WORDS = 16
"""Length of every encoded prompt."""
SCALE = 0.7
"""The autoencoder's scaling factor."""


def tiny_cogvideox(folder: str | Path, newer: bool = False, scheduler: str = "CogVideoXDPMScheduler") -> Path:
    """Write an image-to-video pipeline, its weights in half precision; taps `transformer_blocks.0` to `transformer_blocks.2`.

    Args:
        folder: Where to write; created if missing.
        newer: In the layout of 1.5 instead of 1.0.
        scheduler: Class of the scheduler.

    Returns:
        `folder`.
    """
    import diffusers
    from transformers import T5Config, T5EncoderModel

    if newer:
        layout = {"sample_height": 40, "sample_width": 40, "sample_frames": 81, "patch_size_t": 2, "ofs_embed_dim": 8, "patch_bias": False}
    else:
        sizes = {"sample_height": HEIGHT // 8, "sample_width": WIDTH // 8, "sample_frames": FRAMES}
        layout = {**sizes, "use_learned_positional_embeddings": True}
    with torch.random.fork_rng(devices=[]):  # the caller's global random state stays as it was
        torch.manual_seed(0)
        transformer = diffusers.CogVideoXTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=16,
            in_channels=8,
            out_channels=4,
            time_embed_dim=8,
            text_embed_dim=TEXT,
            num_layers=3,
            max_text_seq_length=WORDS,
            use_rotary_positional_embeddings=True,
            **layout,
        )
        if not newer:  # trained positions are no sines any more
            transformer.patch_embed.pos_embedding.add_(torch.randn_like(transformer.patch_embed.pos_embedding))
        vae = diffusers.AutoencoderKLCogVideoX(
            block_out_channels=(8, 8, 8, 8),
            down_block_types=("CogVideoXDownBlock3D",) * 4,
            up_block_types=("CogVideoXUpBlock3D",) * 4,
            latent_channels=4,
            layers_per_block=1,
            norm_num_groups=2,
            scaling_factor=SCALE,
            invert_scale_latents=newer,
        )
        t5 = T5EncoderModel(T5Config(vocab_size=48, d_model=TEXT, d_kv=8, d_ff=24, num_layers=2, num_heads=2, decoder_start_token_id=0))
        pipeline = diffusers.CogVideoXImageToVideoPipeline(
            tokenizer=tiny_tokenizer(WORDS),
            text_encoder=t5.half(),
            vae=vae.half(),
            transformer=transformer.half(),
            scheduler=getattr(diffusers, scheduler)(
                prediction_type="v_prediction",
                snr_shift_scale=1.0,
                rescale_betas_zero_snr=True,
                timestep_spacing="trailing",
            ),
        )
    pipeline.save_pretrained(folder)
    return Path(folder)


tiny_cogvideox_15 = partial(tiny_cogvideox, newer=True)
