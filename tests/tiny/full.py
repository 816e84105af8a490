"""Tiny pipelines that the configs of public models run on as they are: their taps, sizes and lengths, with random weights.

Of each model the published class and number of blocks, a few channels wide. What would take a CPU minutes at full resolution is made
small by numbers of the configuration alone: autoencoders that begin with patches of several pixels, denoisers that read patches
of many latents. See `tests.tiny`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.tiny import tiny_text_encoder, tiny_tokenizer
from tests.tiny.hunyuan_video import tiny_language_model
from tests.tiny.ltx import tiny_scheduler
from tests.tiny.parts import TEXT, tiny_clip_processor, tiny_clip_text, tiny_clip_vision, tiny_pipeline, tiny_t5
from tests.tiny.tokenizers import tiny_clip_tokenizer, tiny_llama_tokenizer
from tests.tiny.wan import denoiser_options, schedule, tiny_clip

if TYPE_CHECKING:
    from diffusers import AutoencoderKLWan, DiffusionPipeline


def wan_vae(patch: int, **changes: Any) -> AutoencoderKLWan:
    """Wan's autoencoder on square patches of that many pixels: four times that smaller in space, 4 × in time."""
    from diffusers import AutoencoderKLWan

    return AutoencoderKLWan(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[True, True],
        in_channels=3 * patch**2,
        out_channels=3 * patch**2,
        patch_size=patch,
        scale_factor_spatial=4 * patch,
        latents_mean=[0.1, -0.2, 0.05, 0.0],
        latents_std=[1.5, 0.5, 0.8, 1.2],
        **changes,
    )


@tiny_pipeline
def wan21_14b() -> DiffusionPipeline:
    """Sizes: multiples of 48, such as 624."""
    from diffusers import WanImageToVideoPipeline, WanTransformer3DModel
    from transformers import CLIPVisionModel

    return WanImageToVideoPipeline(
        tokenizer=tiny_tokenizer(),
        text_encoder=tiny_text_encoder(),
        vae=wan_vae(12),
        transformer=WanTransformer3DModel(**{**denoiser_options(TEXT), "num_layers": 40, "patch_size": (1, 1, 1)}),
        scheduler=schedule(3.0),
        image_encoder=CLIPVisionModel(tiny_clip()),
        image_processor=tiny_clip_processor(28),
    )


@tiny_pipeline
def wan22_5b() -> DiffusionPipeline:
    """Sizes: multiples of 64, such as 704."""
    from diffusers import WanImageToVideoPipeline, WanTransformer3DModel

    layout = {"in_channels": 4, "num_layers": 30, "patch_size": (1, 4, 4)}
    return WanImageToVideoPipeline(
        tokenizer=tiny_tokenizer(),
        text_encoder=tiny_text_encoder(),
        vae=wan_vae(4, is_residual=True, decoder_base_dim=8),
        transformer=WanTransformer3DModel(**{**denoiser_options(), **layout}),
        scheduler=schedule(5.0),
        expand_timesteps=True,
    )


@tiny_pipeline
def cogvideox15_5b() -> DiffusionPipeline:
    """Sizes: multiples of 128 up to 768 × 1360."""
    import diffusers

    transformer = diffusers.CogVideoXTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=8,
        out_channels=4,
        time_embed_dim=8,
        text_embed_dim=TEXT,
        num_layers=42,
        max_text_seq_length=16,
        use_rotary_positional_embeddings=True,
        sample_height=96,
        sample_width=170,
        sample_frames=81,
        patch_size=16,
        patch_size_t=2,
        patch_bias=False,
        ofs_embed_dim=8,
    )
    vae = diffusers.AutoencoderKLCogVideoX(
        block_out_channels=(4, 4, 4, 4),
        down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
        latent_channels=4,
        layers_per_block=0,
        norm_num_groups=2,
        scaling_factor=0.7,
        invert_scale_latents=True,
    )
    scheduler = diffusers.CogVideoXDDIMScheduler(
        prediction_type="v_prediction", snr_shift_scale=1.0, rescale_betas_zero_snr=True, timestep_spacing="trailing"
    )
    return diffusers.CogVideoXImageToVideoPipeline(
        tokenizer=tiny_tokenizer(16), text_encoder=tiny_t5(), vae=vae, transformer=transformer, scheduler=scheduler
    )


@tiny_pipeline
def hunyuanvideo() -> DiffusionPipeline:
    """In the layout `token_replace`. Sizes: multiples of 144, such as 720."""
    import diffusers
    from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video_image2video import DEFAULT_PROMPT_TEMPLATE

    transformer = diffusers.HunyuanVideoTransformer3DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=16,
        num_layers=20,
        num_single_layers=40,
        num_refiner_layers=1,
        patch_size=18,
        patch_size_t=1,
        guidance_embeds=True,
        text_embed_dim=TEXT,
        pooled_projection_dim=8,
        rope_axes_dim=(4, 6, 6),
        image_condition_type="token_replace",
    )
    vae = diffusers.AutoencoderKLHunyuanVideo(
        latent_channels=4,
        block_out_channels=(4, 4, 4, 4),
        layers_per_block=0,
        norm_num_groups=2,
        down_block_types=("HunyuanVideoDownBlock3D",) * 4,
        up_block_types=("HunyuanVideoUpBlock3D",) * 4,
    )
    tokenizer, tokenizer_2 = tiny_llama_tokenizer(DEFAULT_PROMPT_TEMPLATE["template"].format("")), tiny_clip_tokenizer()
    return diffusers.HunyuanVideoImageToVideoPipeline(
        text_encoder=tiny_language_model(tokenizer),
        tokenizer=tokenizer,
        transformer=transformer,
        vae=vae,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=7.0),
        text_encoder_2=tiny_clip_text(len(tokenizer_2)),
        tokenizer_2=tokenizer_2,
        image_processor=tiny_clip_processor(48),
    )


@tiny_pipeline
def ltx_2b() -> DiffusionPipeline:
    """LTX 0.9, 32 × smaller in space and 8 × in time like the published one; its class there is the text-to-video pipeline's."""
    import diffusers

    scaled = (True, True, True, False)
    return diffusers.LTXPipeline(
        tokenizer=tiny_tokenizer(),
        text_encoder=tiny_t5(),
        vae=diffusers.AutoencoderKLLTXVideo(
            latent_channels=8,
            block_out_channels=(8, 8, 8, 8),
            decoder_block_out_channels=(8, 8, 8, 8),
            layers_per_block=(1,) * 5,
            decoder_layers_per_block=(1,) * 5,
            spatio_temporal_scaling=scaled,
            decoder_spatio_temporal_scaling=scaled,
        ),
        transformer=diffusers.LTXVideoTransformer3DModel(
            in_channels=8,
            out_channels=8,
            num_attention_heads=2,
            attention_head_dim=16,
            cross_attention_dim=32,
            num_layers=28,
            caption_channels=TEXT,
        ),
        scheduler=tiny_scheduler(base_image_seq_len=1024, max_image_seq_len=4096),
    )


@tiny_pipeline
def svd_xt() -> DiffusionPipeline:
    """Four levels like the published U-Net, but attention in the third and the middle one only. Sizes: multiples of 64."""
    import diffusers

    plain, crossed = "DownBlockSpatioTemporal", "CrossAttnDownBlockSpatioTemporal"
    unet = diffusers.UNetSpatioTemporalConditionModel(
        in_channels=8,
        out_channels=4,
        down_block_types=(plain, plain, crossed, plain),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal", "UpBlockSpatioTemporal", "UpBlockSpatioTemporal"),
        block_out_channels=(32, 32, 32, 32),  # its norms have 32 groups
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=24,
        layers_per_block=1,
        cross_attention_dim=TEXT,
        num_attention_heads=2,
        num_frames=25,
    )
    return diffusers.StableVideoDiffusionPipeline(
        vae=diffusers.AutoencoderKLTemporalDecoder(
            block_out_channels=(32, 32, 32, 32), down_block_types=("DownEncoderBlock2D",) * 4, latent_channels=4
        ),
        image_encoder=tiny_clip_vision(224, 56),
        unet=unet,
        scheduler=diffusers.EulerDiscreteScheduler(
            beta_schedule="scaled_linear",
            prediction_type="v_prediction",
            sigma_max=700.0,
            sigma_min=0.002,
            timestep_type="continuous",
            use_karras_sigmas=True,
        ),
        feature_extractor=tiny_clip_processor(224),
    )


FULL: dict[str, Callable[[str | Path], Path]] = {
    "cogvideox15-5b": cogvideox15_5b,
    "hunyuanvideo": hunyuanvideo,
    "ltx-2b": ltx_2b,
    "svd-xt": svd_xt,
    "wan21-14b": wan21_14b,
    "wan22-5b": wan22_5b,
}
"""Name of a surrogate in the configs → its tiny pipeline."""


def tiny_full(name: str, folder: Path) -> Path:
    """Write the pipeline for a surrogate's name in the configs and return the folder."""
    return FULL[name](folder)
