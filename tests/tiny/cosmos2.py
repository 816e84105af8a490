"""A tiny Cosmos-Predict2 pipeline with random weights, built without a download; see `tests.tiny`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from anti_i2v.surrogates.loading import PassThrough
from tests.tiny import tiny_tokenizer
from tests.tiny.parts import TEXT, tiny_pipeline, tiny_t5
from tests.tiny.wan import tiny_causal_vae

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

FRAMES = 9
TAPS = ("transformer_blocks.0", "transformer_blocks.1")


@tiny_pipeline
def tiny_cosmos2(karras: bool = True, **changes: Any) -> DiffusionPipeline:
    """Cosmos-Predict2, video to video_model, with three blocks `transformer_blocks.…` and without a safety checker.

    Args:
        karras: The scheduler's `use_karras_sigmas`.
        changes: To what the denoiser is built with.
    """
    from diffusers import Cosmos2VideoToWorldPipeline, CosmosTransformer3DModel, FlowMatchEulerDiscreteScheduler

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
    return Cosmos2VideoToWorldPipeline(
        text_encoder=tiny_t5(),
        tokenizer=tiny_tokenizer(),
        transformer=transformer,
        vae=tiny_causal_vae(),
        scheduler=FlowMatchEulerDiscreteScheduler(use_karras_sigmas=karras),
        safety_checker=PassThrough(),
    )


def no_safety_checker(folder: Path) -> dict[str, Any]:
    """The part without which diffusers itself asks for a package and its weights."""
    return {"safety_checker": PassThrough()}
