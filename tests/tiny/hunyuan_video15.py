"""Tiny HunyuanVideo 1.5 image-to-video pipelines with random weights, built without a download; see `tests.tiny`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tests.tiny.parts import TEXT, tiny_pipeline, tiny_t5
from tests.tiny.tokenizers import tiny_qwen_tokenizer

if TYPE_CHECKING:
    from diffusers import AutoencoderKLHunyuanVideo15, ClassifierFreeGuidance, DiffusionPipeline, HunyuanVideo15Transformer3DModel
    from transformers import Qwen2_5_VLTextModel, SiglipVisionModel

FRAMES = 9
HEIGHT, WIDTH = 40, 56
"""One of the sizes that the pipeline does not change, of about 48 × 48 pixels."""
TAPS = ("transformer_blocks.0", "transformer_blocks.1")
LETTERS, SIGHT = 8, 12
"""Width of the states of ByT5 and SigLIP."""


def unguided(folder: Path) -> dict[str, ClassifierFreeGuidance]:
    """The pipeline's call takes no guidance scale; this is where it takes one."""
    from diffusers import ClassifierFreeGuidance

    return {"guider": ClassifierFreeGuidance(guidance_scale=1.0)}


def tiny_qwen(words: int) -> Qwen2_5_VLTextModel:
    """Four layers, the last two of which are not read."""
    from transformers import Qwen2_5_VLTextConfig, Qwen2_5_VLTextModel

    config = Qwen2_5_VLTextConfig(
        vocab_size=words,
        hidden_size=TEXT,
        intermediate_size=24,
        num_hidden_layers=4,
        num_attention_heads=2,
        num_key_value_heads=1,
        rope_parameters={"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0},
        initializer_range=0.2,
    )
    return Qwen2_5_VLTextModel(config)


def tiny_siglip() -> SiglipVisionModel:
    """Two layers, 36 tokens; it looks at 48 × 48 pixels, so that of a photo of that size nothing is rounded."""
    from transformers import SiglipVisionConfig, SiglipVisionModel

    config = SiglipVisionConfig(
        hidden_size=SIGHT, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=48, patch_size=8
    )
    return SiglipVisionModel(config)


def tiny_denoiser(meanflow: bool) -> HunyuanVideo15Transformer3DModel:
    """Two blocks, width 32."""
    from diffusers import HunyuanVideo15Transformer3DModel

    return HunyuanVideo15Transformer3DModel(
        in_channels=9,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=16,
        num_layers=2,
        num_refiner_layers=1,
        text_embed_dim=TEXT,
        text_embed_2_dim=LETTERS,
        image_embed_dim=SIGHT,
        rope_axes_dim=(4, 6, 6),
        target_size=48,
        use_meanflow=meanflow,
    )


def tiny_vae() -> AutoencoderKLHunyuanVideo15:
    """8 × smaller in space and 4 × in time, with 4 latent channels."""
    from diffusers import AutoencoderKLHunyuanVideo15

    return AutoencoderKLHunyuanVideo15(
        latent_channels=4, block_out_channels=(8, 8, 8, 8), layers_per_block=1, spatial_compression_ratio=8, temporal_compression_ratio=4
    )


@tiny_pipeline
def tiny_hunyuan_video15(meanflow: bool = False) -> DiffusionPipeline:
    """HunyuanVideo-1.5-480p_i2v, or the one distilled to few steps (`meanflow`)."""
    from diffusers import ClassifierFreeGuidance, FlowMatchEulerDiscreteScheduler, HunyuanVideo15ImageToVideoPipeline
    from transformers import ByT5Tokenizer, SiglipImageProcessor

    tokenizer = tiny_qwen_tokenizer()
    return HunyuanVideo15ImageToVideoPipeline(
        text_encoder=tiny_qwen(len(tokenizer)),
        tokenizer=tokenizer,
        transformer=tiny_denoiser(meanflow),
        vae=tiny_vae(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=5.0),
        text_encoder_2=tiny_t5(384, LETTERS),
        tokenizer_2=ByT5Tokenizer(),
        guider=ClassifierFreeGuidance(guidance_scale=6.0),
        image_encoder=tiny_siglip(),
        feature_extractor=SiglipImageProcessor(size={"height": 48, "width": 48}),
    )


tiny_hunyuan_video15_meanflow = partial(tiny_hunyuan_video15, meanflow=True)
