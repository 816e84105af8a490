"""A tiny Stable Video Diffusion pipeline with random weights, built without a download; see `tests.tiny`."""

from __future__ import annotations

from pathlib import Path

import torch

FRAMES = 3
EMBEDDING = 16
"""Width of the photo's embedding."""


def tiny_unet_world(folder: str | Path) -> Path:
    """Write a pipeline whose pictures are multiples of 8, its weights in half precision; taps such as `down_blocks.0`, `mid_block`.

    Args:
        folder: Where to write; created if missing.

    Returns:
        `folder`.
    """
    from diffusers import (
        AutoencoderKLTemporalDecoder,
        EulerDiscreteScheduler,
        StableVideoDiffusionPipeline,
        UNetSpatioTemporalConditionModel,
    )
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

    with torch.random.fork_rng(devices=[]):  # the caller's global random state stays as it was
        torch.manual_seed(0)
        vae = AutoencoderKLTemporalDecoder(
            block_out_channels=(32, 32), down_block_types=("DownEncoderBlock2D",) * 2, latent_channels=4, scaling_factor=0.6
        )
        unet = UNetSpatioTemporalConditionModel(
            in_channels=8,
            out_channels=4,
            down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
            up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
            block_out_channels=(32, 32),
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=24,
            layers_per_block=1,
            cross_attention_dim=EMBEDDING,
            num_attention_heads=2,
            num_frames=FRAMES,
        )
        clip = CLIPVisionModelWithProjection(
            CLIPVisionConfig(
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=1,
                num_attention_heads=2,
                image_size=224,
                patch_size=56,
                projection_dim=EMBEDDING,
            )
        )
        pipeline = StableVideoDiffusionPipeline(
            vae=vae.half(),
            image_encoder=clip.half(),
            unet=unet.half(),
            scheduler=EulerDiscreteScheduler(
                beta_start=0.00085,
                beta_end=0.012,
                beta_schedule="scaled_linear",
                prediction_type="v_prediction",
                sigma_max=700.0,
                sigma_min=0.002,
                steps_offset=1,
                timestep_spacing="leading",
                timestep_type="continuous",
                use_karras_sigmas=True,
            ),
            feature_extractor=CLIPImageProcessor(size={"shortest_edge": 224}, crop_size={"height": 224, "width": 224}),
        )
    pipeline.save_pretrained(folder)
    return Path(folder)
