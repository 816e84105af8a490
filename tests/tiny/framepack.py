"""A tiny FramePack pipeline with random weights, built without a download; see `tests.tiny`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.tiny.hunyuan_video import llama_config, tiny_vae
from tests.tiny.hunyuan_video15 import SIGHT, tiny_siglip
from tests.tiny.parts import TEXT, tiny_clip_text, tiny_pipeline
from tests.tiny.tokenizers import tiny_clip_tokenizer, tiny_llama_tokenizer

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline, HunyuanVideoFramepackTransformer3DModel

FRAMES = 73
"""Two sections."""
CALL_FRAMES = 66
"""Number of frames that the pipeline's call must be given to make as many."""
TAPS = ("transformer_blocks.1", "single_transformer_blocks.0")


def tiny_denoiser() -> HunyuanVideoFramepackTransformer3DModel:
    """Two blocks `transformer_blocks.…` and two `single_transformer_blocks.…`, width 32."""
    from diffusers import HunyuanVideoFramepackTransformer3DModel

    return HunyuanVideoFramepackTransformer3DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=16,
        num_layers=2,
        num_single_layers=2,
        num_refiner_layers=1,
        text_embed_dim=TEXT,
        pooled_projection_dim=8,
        rope_axes_dim=(4, 6, 6),
        has_image_proj=True,
        image_proj_dim=SIGHT,
        has_clean_x_embedder=True,
    )


@tiny_pipeline
def tiny_framepack(shifts: bool = True) -> DiffusionPipeline:
    """FramePackI2V_HY with the other parts of HunyuanVideo; `shifts` says whether the schedule's shift depends on the size."""
    from diffusers import FlowMatchEulerDiscreteScheduler, HunyuanVideoFramepackPipeline
    from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video_framepack import DEFAULT_PROMPT_TEMPLATE
    from transformers import LlamaModel, SiglipImageProcessor

    tokenizer, tokenizer_2 = tiny_llama_tokenizer(DEFAULT_PROMPT_TEMPLATE["template"].format("")), tiny_clip_tokenizer()
    return HunyuanVideoFramepackPipeline(
        text_encoder=LlamaModel(llama_config(tokenizer)),
        tokenizer=tokenizer,
        transformer=tiny_denoiser(),
        vae=tiny_vae(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0, use_dynamic_shifting=shifts),
        text_encoder_2=tiny_clip_text(len(tokenizer_2)),
        tokenizer_2=tokenizer_2,
        image_encoder=tiny_siglip(),
        feature_extractor=SiglipImageProcessor(size={"height": 48, "width": 48}),
    )
