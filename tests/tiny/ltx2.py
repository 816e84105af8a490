"""Tiny LTX-2 pipelines with random weights, built without a download; see `tests.tiny`."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tests.tiny.ltx import tiny_scheduler
from tests.tiny.ltx2_vae import CHANNELS, tiny_ltx2_vae
from tests.tiny.parts import TEXT, tiny_pipeline
from tests.tiny.tokenizers import tiny_gemma_tokenizer

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

FRAMES = 9
HEIGHT, WIDTH = 32, 64
TAPS = ("transformer_blocks.0", "transformer_blocks.1")
VIDEO = (CHANNELS, 3, 2, 4)
"""Channels, frames, height and width of the video's latents."""
SOUND = (2, 9, 2)
"""Channels, length and pitches of the sound's latents: 9 frames at 24 a second, 25 latents a second."""
LAYERS = 2
"""Of the language model, each of whose states is read, and the word embeddings."""


def tiny_gemma3() -> torch.nn.Module:
    """The language model of LTX-2, with its vision tower, which is not used."""
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    text = {"vocab_size": 64, "hidden_size": TEXT, "intermediate_size": 24, "num_hidden_layers": LAYERS}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}
    vision = {
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "image_size": 28,
        "patch_size": 14,
    }
    model: torch.nn.Module = Gemma3ForConditionalGeneration(
        Gemma3Config(text_config=text | heads, vision_config=vision, mm_tokens_per_image=4)
    )
    return model


def denoiser_options(newer: bool) -> dict[str, Any]:
    """What a denoiser is built with; the newer one is LTX-2.3's, whose connectors give video and sound texts of their own width."""
    return {
        "in_channels": CHANNELS,
        "out_channels": CHANNELS,
        "num_attention_heads": 2,
        "attention_head_dim": 16,
        "cross_attention_dim": 32,
        "audio_in_channels": SOUND[0] * SOUND[2],
        "audio_out_channels": SOUND[0] * SOUND[2],
        "audio_num_attention_heads": 2,
        "audio_attention_head_dim": 8,
        "audio_cross_attention_dim": 16,
        "num_layers": 3,
        "caption_channels": TEXT,
        "vae_scale_factors": (4, 16, 16),
        "rope_double_precision": False,
        "rope_type": "split",
        "use_prompt_embeddings": not newer,
        "cross_attn_mod": newer,
        "audio_cross_attn_mod": newer,
        "gated_attn": newer,
        "audio_gated_attn": newer,
    }


def connector_options(newer: bool) -> dict[str, Any]:
    """What the connectors between language model and denoiser are built with."""
    widths = {"video_connector_attention_head_dim": 16 if newer else 8, "audio_connector_attention_head_dim": 8}
    return {
        "caption_channels": TEXT,
        "text_proj_in_factor": LAYERS + 1,
        "video_connector_num_attention_heads": 2,
        "video_connector_num_layers": 1,
        "audio_connector_num_attention_heads": 2,
        "audio_connector_num_layers": 1,
        "rope_double_precision": False,
        "rope_type": "split",
        "per_modality_projections": newer,
        "video_hidden_dim": 32,
        "audio_hidden_dim": 16,
        **widths,
    }


@tiny_pipeline
def tiny_ltx2(newer: bool = False) -> DiffusionPipeline:
    """LTX-2, or the newer LTX-2.3; three blocks `transformer_blocks.…`."""
    from diffusers import AutoencoderKLLTX2Audio, LTX2ImageToVideoPipeline, LTX2VideoTransformer3DModel
    from diffusers.pipelines.ltx2 import LTX2TextConnectors, LTX2Vocoder

    audio = AutoencoderKLLTX2Audio(
        base_channels=SOUND[0] * SOUND[2],
        ch_mult=(1,),
        num_res_blocks=1,
        resolution=32,
        latent_channels=SOUND[0],
        mel_bins=4 * SOUND[2],
    )
    vocoder = LTX2Vocoder(
        in_channels=8 * SOUND[2],
        hidden_channels=8,
        upsample_kernel_sizes=[4, 4],
        upsample_factors=[2, 2],
        resnet_kernel_sizes=[3],
        resnet_dilations=[[1, 3, 5]],
    )
    return LTX2ImageToVideoPipeline(
        scheduler=tiny_scheduler(),
        vae=tiny_ltx2_vae(),
        audio_vae=audio,
        text_encoder=tiny_gemma3(),
        tokenizer=tiny_gemma_tokenizer(1024),
        connectors=LTX2TextConnectors(**connector_options(newer)),
        transformer=LTX2VideoTransformer3DModel(**denoiser_options(newer)),
        vocoder=vocoder,
    )


tiny_ltx23 = partial(tiny_ltx2, newer=True)


def noise_of_video_and_sound(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """What `LTX2ImageToVideoPipeline` draws: noise for the video, then for the sound."""
    noise = [torch.randn(1, *part, generator=generator) for part in (VIDEO, SOUND)]
    assert shape == (1, math.prod(VIDEO) + math.prod(SOUND))
    return torch.cat([one.flatten(1) for one in noise], dim=1)


def still_and_silent(latents: Tensor) -> Tensor:
    """The photo's latents as those of a still clip and of the average of all sounds, which is the latent 0."""
    still = latents.expand(-1, *VIDEO).flatten(1)
    return torch.cat([still, still.new_zeros(len(still), math.prod(SOUND))], dim=1)


UNGUIDED: dict[str, Any] = {
    "guidance_scale": 1.0,
    "stg_scale": 0.0,
    "modality_scale": 1.0,
    "audio_guidance_scale": 1.0,
    "audio_stg_scale": 0.0,
    "audio_modality_scale": 1.0,
    "image_crf": 0,
}
"""Options of the pipeline's call: no guidance of any kind, and the photo as it is."""
