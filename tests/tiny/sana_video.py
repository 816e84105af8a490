"""Tiny SANA-Video pipelines with random weights, built without a download; see `tests.tiny`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.tiny.ltx2_vae import tiny_ltx2_vae
from tests.tiny.parts import TEXT, tiny_pipeline
from tests.tiny.tokenizers import tiny_gemma_tokenizer
from tests.tiny.wan import tiny_causal_vae

if TYPE_CHECKING:
    from diffusers import AutoencoderKLLTX2Video, AutoencoderKLWan, DiffusionPipeline, SchedulerMixin

FRAMES = 9
HEIGHT, WIDTH = 32, 64
TAPS = ("transformer_blocks.0", "transformer_blocks.1")
SHIFT = 8.0


def build(vae: AutoencoderKLWan | AutoencoderKLLTX2Video, scheduler: SchedulerMixin, **changes: Any) -> DiffusionPipeline:
    """A pipeline with three blocks `transformer_blocks.…`."""
    from diffusers import SanaImageToVideoPipeline, SanaVideoTransformer3DModel
    from transformers import Gemma2Config, Gemma2Model

    options = {
        "in_channels": 4,
        "out_channels": 4,
        "num_attention_heads": 2,
        "attention_head_dim": 24,  # linear attention divides by a sum of ReLUs, which must not all be 0
        "num_layers": 3,
        "num_cross_attention_heads": 2,
        "cross_attention_head_dim": 24,
        "cross_attention_dim": 48,
        "caption_channels": TEXT,
        "sample_size": 30,
        "rope_max_seq_len": 64,
        **changes,
    }
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}
    return SanaImageToVideoPipeline(
        tokenizer=tiny_gemma_tokenizer(8192),
        text_encoder=Gemma2Model(Gemma2Config(vocab_size=64, hidden_size=TEXT, intermediate_size=24, num_hidden_layers=2, **heads)),
        vae=vae,
        transformer=SanaVideoTransformer3DModel(**options),
        scheduler=scheduler,
    )


@tiny_pipeline
def tiny_sana_480p() -> DiffusionPipeline:
    """SANA-Video 480p, with Wan's autoencoder."""
    from diffusers import DPMSolverMultistepScheduler

    scheduler = DPMSolverMultistepScheduler(flow_shift=SHIFT, use_flow_sigmas=True, prediction_type="flow_prediction")
    return build(tiny_causal_vae(), scheduler)


@tiny_pipeline
def tiny_sana_720p() -> DiffusionPipeline:
    """SANA-Video 720p, with LTX-2's autoencoder, and a denoiser that also predicts a variance."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    vae = tiny_ltx2_vae()
    channels = {"in_channels": vae.config.latent_channels, "out_channels": 2 * vae.config.latent_channels}
    return build(vae, FlowMatchEulerDiscreteScheduler(shift=SHIFT), **channels, patch_size=(1, 1, 1), sample_size=22)
