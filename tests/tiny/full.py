"""Tiny pipelines that the configs of public models run on as they are: their taps, sizes and lengths, with random weights.

Of each model the published class and number of blocks, a few channels wide. What would take a CPU minutes at full resolution is made
small by numbers of the configuration alone: autoencoders that begin with patches of several pixels, denoisers that read patches
of many latents. See `tests.tiny`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.tiny import tiny_tokenizer
from tests.tiny.cogvideox import tiny_cogvideox
from tests.tiny.hunyuan_video import tiny_hunyuan_video
from tests.tiny.ltx import tiny_denoiser, tiny_scheduler
from tests.tiny.parts import NO_CHANGES, TEXT, tiny_clip_processor, tiny_pipeline, tiny_t5
from tests.tiny.unet import tiny_svd
from tests.tiny.wan import denoiser_options, parts, tiny_clip

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
        **(parts(3.0) | {"vae": wan_vae(12)}),
        transformer=WanTransformer3DModel(**(denoiser_options(TEXT) | {"num_layers": 40, "patch_size": (1, 1, 1)})),
        image_encoder=CLIPVisionModel(tiny_clip()),
        image_processor=tiny_clip_processor(28),
    )


@tiny_pipeline
def wan22_5b() -> DiffusionPipeline:
    """Sizes: multiples of 64, such as 704."""
    from diffusers import WanImageToVideoPipeline, WanTransformer3DModel

    layout = {"in_channels": 4, "num_layers": 30, "patch_size": (1, 4, 4)}
    return WanImageToVideoPipeline(
        **(parts(5.0) | {"vae": wan_vae(4, is_residual=True, decoder_base_dim=8)}),
        transformer=WanTransformer3DModel(**(denoiser_options() | layout)),
        expand_timesteps=True,
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
        transformer=tiny_denoiser(28),
        scheduler=tiny_scheduler(base_image_seq_len=1024, max_image_seq_len=4096),
    )


@tiny_pipeline
def svd_xt() -> DiffusionPipeline:
    """Four levels like the published U-Net, but attention in the third and the middle one only. Sizes: multiples of 64."""
    plain, cross = "DownBlockSpatioTemporal", "CrossAttnDownBlockSpatioTemporal"
    up = ("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal", "UpBlockSpatioTemporal", "UpBlockSpatioTemporal")
    return tiny_svd(4, (plain, plain, cross, plain), up, 25, NO_CHANGES)


cogvideox15_5b = partial(
    tiny_cogvideox,
    newer=True,
    scheduler="CogVideoXDDIMScheduler",
    denoiser={"num_layers": 42, "sample_height": 96, "sample_width": 170, "patch_size": 16},
    vae={"block_out_channels": (4, 4, 4, 4), "layers_per_block": 0},
)
"""Sizes: multiples of 128 up to 768 × 1360."""

hunyuanvideo = partial(
    tiny_hunyuan_video,
    layout="token_replace",
    denoiser={"num_layers": 20, "num_single_layers": 40, "patch_size": 18},
    vae={"channels": 4, "layers": 0},
)
"""Sizes: multiples of 144, such as 720."""

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
