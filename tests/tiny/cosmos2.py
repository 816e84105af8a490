"""A tiny Cosmos-Predict2 pipeline with random weights, built without a download; see `tests.tiny`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from anti_i2v.surrogates.loading import PassThrough
from tests.tiny import TEXT, tiny_tokenizer
from tests.tiny.wan import tiny_causal_vae

FRAMES = 9
TAPS = ("transformer_blocks.0", "transformer_blocks.1")


def tiny_cosmos2(folder: str | Path, karras: bool = True, **changes: Any) -> Path:
    """Write a pipeline in the layout of Cosmos-Predict2 video to world, its weights in half precision.

    Args:
        folder: Where to write; created if missing.
        karras: What the scheduler is set to.
        changes: To what the denoiser is built with.

    Returns:
        `folder`. Pictures are multiples of 16, clips 1 + a multiple of 4 frames; the denoiser has `transformer_blocks.0` to
        `transformer_blocks.2`. There is no safety checker in it.
    """
    from diffusers import Cosmos2VideoToWorldPipeline, CosmosTransformer3DModel, FlowMatchEulerDiscreteScheduler
    from transformers import T5Config, T5EncoderModel

    with torch.random.fork_rng(devices=[]):  # the caller's global random state stays as it was
        torch.manual_seed(0)
        options = {
            "in_channels": 5,
            "out_channels": 4,
            "num_attention_heads": 2,
            "attention_head_dim": 16,
            "num_layers": 3,
            "mlp_ratio": 2.0,
            "text_embed_dim": TEXT,
            "adaln_lora_dim": 4,
            "max_size": (8, 16, 16),
            "rope_scale": (1.0, 3.0, 3.0),
            "concat_padding_mask": True,
            "extra_pos_embed_type": None,
            **changes,
        }
        transformer = CosmosTransformer3DModel(**options)
        config = T5Config(vocab_size=48, d_model=TEXT, d_kv=8, d_ff=24, num_layers=2, num_heads=2, decoder_start_token_id=0)
        pipeline = Cosmos2VideoToWorldPipeline(
            text_encoder=T5EncoderModel(config).half(),
            tokenizer=tiny_tokenizer(),
            transformer=transformer.half(),
            vae=tiny_causal_vae().half(),
            scheduler=FlowMatchEulerDiscreteScheduler(use_karras_sigmas=karras),
            safety_checker=PassThrough(),
        )
    pipeline.save_pretrained(folder)
    return Path(folder)


def nothing_checked(folder: Path) -> dict[str, Any]:
    """The part without which diffusers itself asks for a package and its weights."""
    return {"safety_checker": PassThrough()}
