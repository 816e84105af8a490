"""Tiny pipelines of Wan 2.1, Wan 2.2 A14B and SkyReels-V2 with random weights, built without a download; see `tests.tiny`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.tiny import tiny_text_encoder, tiny_tokenizer
from tests.tiny.parts import TEXT, tiny_clip_processor, tiny_pipeline

if TYPE_CHECKING:
    from diffusers import AutoencoderKLWan, DiffusionPipeline, UniPCMultistepScheduler
    from transformers import CLIPVisionConfig

FRAMES = 9


def tiny_causal_vae() -> AutoencoderKLWan:
    """The autoencoder of Wan 2.1: 32×48, 9 frames → latents (4, 3, 4, 6)."""
    from diffusers import AutoencoderKLWan

    return AutoencoderKLWan(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.1, -0.2, 0.05, 0.0],
        latents_std=[1.5, 0.5, 0.8, 1.2],
    )


def denoiser_options(image_dim: int | None = None) -> dict[str, Any]:
    """What a denoiser is built with: 4 channels of noise, 4 of the mask, 4 of the photo."""
    return {
        "patch_size": (1, 2, 2),
        "num_attention_heads": 2,
        "attention_head_dim": 16,
        "in_channels": 12,
        "out_channels": 4,
        "text_dim": TEXT,
        "freq_dim": 16,
        "ffn_dim": 32,
        "num_layers": 4,
        "cross_attn_norm": True,
        "qk_norm": "rms_norm_across_heads",
        "rope_max_seq_len": 64,
        "image_dim": image_dim,
        "added_kv_proj_dim": None if image_dim is None else 32,
    }


def tiny_clip() -> CLIPVisionConfig:
    """A vision tower of three layers, four patches and weights that are not near zero."""
    from transformers import CLIPVisionConfig

    return CLIPVisionConfig(
        hidden_size=TEXT,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=28,
        patch_size=14,
        projection_dim=8,
        initializer_range=0.2,
    )


def schedule(shift: float) -> UniPCMultistepScheduler:
    """The scheduler that all of them come with."""
    from diffusers import UniPCMultistepScheduler

    return UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, num_train_timesteps=1000, flow_shift=shift)


def parts(shift: float) -> dict[str, Any]:
    """The parts that the three pipelines share."""
    return {
        "tokenizer": tiny_tokenizer(),
        "text_encoder": tiny_text_encoder(),
        "vae": tiny_causal_vae(),
        "scheduler": schedule(shift),
    }


@tiny_pipeline
def tiny_wan21(**changes: Any) -> DiffusionPipeline:
    """Wan 2.1 image to video, with CLIP, with `changes` to what the denoiser is built with.

    Pictures are multiples of 16, clips 1 + a multiple of 4 frames, the denoiser has `blocks.0` to `blocks.3`.
    """
    from diffusers import WanImageToVideoPipeline, WanTransformer3DModel
    from transformers import CLIPVisionModel

    return WanImageToVideoPipeline(
        **parts(3.0),
        transformer=WanTransformer3DModel(**{**denoiser_options(TEXT), **changes}),
        image_encoder=CLIPVisionModel(tiny_clip()),
        image_processor=tiny_clip_processor(28),
    )


@tiny_pipeline
def tiny_wan22_a14b(second: dict[str, Any] | None = None) -> DiffusionPipeline:
    """Wan 2.2 A14B: two denoisers, no CLIP, with changes to what the `second` is built with; see `tiny_wan21`.

    Of a schedule of four steps the first denoiser has two.
    """
    from diffusers import WanImageToVideoPipeline, WanTransformer3DModel

    return WanImageToVideoPipeline(
        **parts(5.0),
        transformer=WanTransformer3DModel(**denoiser_options()),
        transformer_2=WanTransformer3DModel(**{**denoiser_options(), **(second or {})}),
        boundary_ratio=0.9,
    )


@tiny_pipeline
def tiny_skyreels_v2() -> DiffusionPipeline:
    """SkyReels-V2 image to video, whose image processor is a whole `CLIPProcessor`; see `tiny_wan21`."""
    from diffusers import SkyReelsV2ImageToVideoPipeline, SkyReelsV2Transformer3DModel
    from transformers import CLIPProcessor, CLIPTokenizer, CLIPVisionModelWithProjection

    return SkyReelsV2ImageToVideoPipeline(
        **parts(5.0),
        transformer=SkyReelsV2Transformer3DModel(**denoiser_options(TEXT)),
        image_encoder=CLIPVisionModelWithProjection(tiny_clip()),
        image_processor=CLIPProcessor(tiny_clip_processor(28), CLIPTokenizer()),
    )
