"""Tiny HunyuanVideo image-to-video pipelines with random weights, built without a download; see `tests.tiny`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tests.tiny.parts import NO_CHANGES, TEXT, tiny_clip_processor, tiny_clip_text, tiny_pipeline
from tests.tiny.tokenizers import tiny_clip_tokenizer, tiny_llama_tokenizer

if TYPE_CHECKING:
    from diffusers import AutoencoderKLHunyuanVideo, DiffusionPipeline, HunyuanVideoTransformer3DModel
    from transformers import LlamaConfig, LlavaForConditionalGeneration, PreTrainedTokenizerFast

FRAMES = 9
HEIGHT, WIDTH = 48, 64
"""The shorter edge is what LLaVA looks at, so that nothing is resized for it, which the pipeline does in 8 bits."""
TAPS = ("transformer_blocks.1", "single_transformer_blocks.0")
WIDE_INIT = 0.2
"""Spread of initial weights with which states differ from photo to photo as much as those of a trained model."""
Layout = Literal["latent_concat", "token_replace"]


def own_tokenizer(folder: Path) -> dict[str, PreTrainedTokenizerFast]:
    """The folder's tokenizer, loaded by its file rather than by the class that model_index.json names, which cannot read it."""
    from transformers import AutoTokenizer

    return {"tokenizer": AutoTokenizer.from_pretrained(folder, subfolder="tokenizer")}


def llama_config(tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    """A LLaMA of four layers, the last two of which are not read."""
    from transformers import LlamaConfig

    return LlamaConfig(
        hidden_size=TEXT,
        intermediate_size=24,
        num_attention_heads=2,
        num_hidden_layers=4,
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        initializer_range=WIDE_INIT,
    )


def tiny_language_model(tokenizer: PreTrainedTokenizerFast) -> LlavaForConditionalGeneration:
    """LLaVA of four layers, the last two of which are not read; pictures of 48 × 48 make the 576 tokens of the public one's 336 × 336."""
    from transformers import CLIPVisionConfig, LlavaConfig, LlavaForConditionalGeneration

    sight = CLIPVisionConfig(
        hidden_size=TEXT,
        intermediate_size=24,
        projection_dim=TEXT,
        num_attention_heads=2,
        num_hidden_layers=2,
        image_size=48,
        patch_size=2,
        initializer_range=WIDE_INIT,
    )
    image = tokenizer.convert_tokens_to_ids("<image>")
    config = LlavaConfig(
        vision_config=sight, text_config=llama_config(tokenizer), image_token_index=image, pad_token_id=tokenizer.pad_token_id
    )
    config.initializer_range = WIDE_INIT
    return LlavaForConditionalGeneration(config)


def tiny_denoiser(layout: Layout | None, **changes: int) -> HunyuanVideoTransformer3DModel:
    """Two blocks `transformer_blocks.…` and two `single_transformer_blocks.…`, width 32."""
    from diffusers import HunyuanVideoTransformer3DModel

    return HunyuanVideoTransformer3DModel(
        in_channels=9 if layout == "latent_concat" else 4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=16,
        num_refiner_layers=1,
        patch_size_t=1,
        guidance_embeds=layout == "token_replace",
        text_embed_dim=TEXT,
        pooled_projection_dim=8,
        rope_axes_dim=(4, 6, 6),
        image_condition_type=layout,
        **{"num_layers": 2, "num_single_layers": 2, "patch_size": 2, **changes},
    )


def tiny_vae(channels: int = 8, layers: int = 1) -> AutoencoderKLHunyuanVideo:
    """HunyuanVideo's autoencoder, 8 × smaller in space and 4 × in time, with 4 latent channels."""
    from diffusers import AutoencoderKLHunyuanVideo

    return AutoencoderKLHunyuanVideo(
        latent_channels=4,
        block_out_channels=(channels,) * 4,
        layers_per_block=layers,
        norm_num_groups=channels // 2,
        scaling_factor=0.476986,
        down_block_types=("HunyuanVideoDownBlock3D",) * 4,
        up_block_types=("HunyuanVideoUpBlock3D",) * 4,
    )


@tiny_pipeline
def tiny_hunyuan_video(
    layout: Layout | None = "latent_concat", denoiser: Mapping[str, int] = NO_CHANGES, vae: Mapping[str, int] = NO_CHANGES
) -> DiffusionPipeline:
    """HunyuanVideo-I2V-33ch (`latent_concat`) or HunyuanVideo-I2V (`token_replace`), by the denoiser's `image_condition_type`.

    The vocabulary has every word of the pipeline's template, so that photo and prompt stand where it looks for them. `denoiser` and
    `vae` are changes to what they are built with.
    """
    from diffusers import FlowMatchEulerDiscreteScheduler, HunyuanVideoImageToVideoPipeline
    from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video_image2video import DEFAULT_PROMPT_TEMPLATE

    tokenizer, tokenizer_2 = tiny_llama_tokenizer(DEFAULT_PROMPT_TEMPLATE["template"].format("")), tiny_clip_tokenizer()
    return HunyuanVideoImageToVideoPipeline(
        text_encoder=tiny_language_model(tokenizer),
        tokenizer=tokenizer,
        transformer=tiny_denoiser(layout, **denoiser),
        vae=tiny_vae(**vae),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
        text_encoder_2=tiny_clip_text(len(tokenizer_2)),
        tokenizer_2=tokenizer_2,
        image_processor=tiny_clip_processor(48),
    )


tiny_hunyuan_concat = partial(tiny_hunyuan_video, layout="latent_concat")
tiny_hunyuan_replace = partial(tiny_hunyuan_video, layout="token_replace")
