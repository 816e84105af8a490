"""A tiny FramePack pipeline with random weights, built without a download; see `tests.tiny`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from tests.tiny.hunyuan_video import tiny_clip_text, tiny_vae
from tests.tiny.hunyuan_video15 import SIGHT, tiny_siglip
from tests.tiny.tokenizers import tiny_clip_tokenizer, tiny_llama_tokenizer

if TYPE_CHECKING:
    from diffusers import HunyuanVideoFramepackTransformer3DModel
    from transformers import LlamaModel, PreTrainedTokenizerFast

FRAMES = 73
"""Two sections."""
ASKED = 66
"""What the pipeline's call is asked for to make as many."""
TAPS = ("transformer_blocks.1", "single_transformer_blocks.0")
TEXT = 16
"""Width of LLaMA's states."""


def tiny_llama(tokenizer: PreTrainedTokenizerFast) -> LlamaModel:
    """Four layers, the last two of which are not read."""
    from transformers import LlamaConfig, LlamaModel

    config = LlamaConfig(
        hidden_size=TEXT,
        intermediate_size=24,
        num_attention_heads=2,
        num_hidden_layers=4,
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        initializer_range=0.2,
    )
    return LlamaModel(config)


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


def tiny_framepack(folder: str | Path, shifts: bool = True) -> Path:
    """Write a pipeline in the layout of FramePackI2V_HY with the other parts of HunyuanVideo, in half precision.

    Args:
        folder: Where to write; created if missing.
        shifts: Whether the scheduler asks for a shift that depends on the size.

    Returns:
        `folder`.
    """
    from diffusers import FlowMatchEulerDiscreteScheduler, HunyuanVideoFramepackPipeline
    from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video_framepack import DEFAULT_PROMPT_TEMPLATE
    from transformers import SiglipImageProcessor

    tokenizer, tokenizer_2 = tiny_llama_tokenizer(DEFAULT_PROMPT_TEMPLATE["template"].format("")), tiny_clip_tokenizer()
    with torch.random.fork_rng(devices=[]):  # the caller's global random state stays as it was
        torch.manual_seed(0)
        pipeline = HunyuanVideoFramepackPipeline(
            text_encoder=tiny_llama(tokenizer).half(),
            tokenizer=tokenizer,
            transformer=tiny_denoiser().half(),
            vae=tiny_vae().half(),
            scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0, use_dynamic_shifting=shifts),
            text_encoder_2=tiny_clip_text(len(tokenizer_2)).half(),
            tokenizer_2=tokenizer_2,
            image_encoder=tiny_siglip().half(),
            feature_extractor=SiglipImageProcessor(size={"height": 48, "width": 48}),
        )
    pipeline.save_pretrained(folder)
    index = Path(folder) / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "tokenizer": ["transformers", "LlamaTokenizerFast"]}))
    return Path(folder)
