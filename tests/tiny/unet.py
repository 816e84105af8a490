"""A tiny Stable Video Diffusion pipeline with random weights, built without a download; see `tests.tiny`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.tiny.parts import TEXT, tiny_clip_processor, tiny_clip_vision, tiny_pipeline

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

FRAMES = 3
SCALING = 0.6


@tiny_pipeline
def tiny_unet_world() -> DiffusionPipeline:
    """Stable Video Diffusion, whose pictures are multiples of 8; taps such as `down_blocks.0`, `mid_block`."""
    from diffusers import (
        AutoencoderKLTemporalDecoder,
        EulerDiscreteScheduler,
        StableVideoDiffusionPipeline,
        UNetSpatioTemporalConditionModel,
    )

    vae = AutoencoderKLTemporalDecoder(
        block_out_channels=(32, 32), down_block_types=("DownEncoderBlock2D",) * 2, latent_channels=4, scaling_factor=SCALING
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
        cross_attention_dim=TEXT,
        num_attention_heads=2,
        num_frames=FRAMES,
    )
    return StableVideoDiffusionPipeline(
        vae=vae,
        image_encoder=tiny_clip_vision(224, 56),
        unet=unet,
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
        feature_extractor=tiny_clip_processor(224),
    )
