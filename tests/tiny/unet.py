"""A tiny Stable Video Diffusion pipeline with random weights, built without a download; see `tests.tiny`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tests.tiny.parts import TEXT, tiny_clip_processor, tiny_clip_vision, tiny_pipeline

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

FRAMES = 3
SCALING = 0.6


def tiny_svd(
    levels: int, down: tuple[str, ...], up: tuple[str, ...], num_frames: int, scheduler: Mapping[str, object]
) -> DiffusionPipeline:
    """A pipeline of `levels` levels, of the named classes in the U-Net, with `scheduler` settings beside those of the public ones."""
    import diffusers

    channels = (32,) * levels  # its norms have 32 groups
    unet = diffusers.UNetSpatioTemporalConditionModel(
        in_channels=8,
        out_channels=4,
        down_block_types=down,
        up_block_types=up,
        block_out_channels=channels,
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=24,
        layers_per_block=1,
        cross_attention_dim=TEXT,
        num_attention_heads=2,
        num_frames=num_frames,
    )
    vae = diffusers.AutoencoderKLTemporalDecoder(
        block_out_channels=channels, down_block_types=("DownEncoderBlock2D",) * levels, latent_channels=4, scaling_factor=SCALING
    )
    return diffusers.StableVideoDiffusionPipeline(
        vae=vae,
        image_encoder=tiny_clip_vision(224, 56),
        unet=unet,
        scheduler=diffusers.EulerDiscreteScheduler(
            beta_schedule="scaled_linear",
            prediction_type="v_prediction",
            sigma_max=700.0,
            sigma_min=0.002,
            timestep_type="continuous",
            use_karras_sigmas=True,
            **scheduler,
        ),
        feature_extractor=tiny_clip_processor(224),
    )


@tiny_pipeline
def tiny_portrait_unet() -> DiffusionPipeline:
    """Stable Video Diffusion, whose pictures are multiples of 8; taps such as `down_blocks.0`, `mid_block`."""
    down = ("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal")
    up = ("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal")
    scheduler = {"beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1, "timestep_spacing": "leading"}
    return tiny_svd(2, down, up, FRAMES, scheduler)
