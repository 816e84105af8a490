"""Tiny Kandinsky 5 image-to-video pipelines with random weights, built without a download; see `tests.tiny`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from tests.tiny.hunyuan_video import tiny_vae
from tests.tiny.parts import TEXT, tiny_clip_text, tiny_pipeline
from tests.tiny.tokenizers import tiny_clip_tokenizer, tiny_qwen_tokenizer

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline, Kandinsky5Transformer3DModel
    from transformers import Qwen2_5_VLForConditionalGeneration

FRAMES = 17
HEIGHT, WIDTH = 32, 48
TAPS = ("visual_transformer_blocks.0", "visual_transformer_blocks.1")
POOLED = 8
"""Width of the states of CLIP."""
TEMPLATE = (
    "system You are a prompt engineer. Describe the video in detail. Describe how the camera moves or shakes, describe the zoom and view "
    "angle, whether it follows the objects. the location of the video, main characters or objects and their action. dynamism of presented "
    "actions. Name the visual style is professional footage, user generated content, some kind of animation, game effects, postprocessing "
    "and transitions if they are Pay attention to order of key actions shown in scene."
)
"""Words of the pipeline's own template, which must be shorter in tokens than what it cuts off."""


def tiny_qwen_vl(words: int) -> Qwen2_5_VLForConditionalGeneration:
    """Two layers of language and one of sight, which is not used."""
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    sight = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": TEXT, "fullatt_block_indexes": [0]}
    language = {
        "vocab_size": words,
        "hidden_size": TEXT,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0},
        "initializer_range": 0.2,
    }
    return Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(vision_config=sight, text_config=language))


def tiny_denoiser(attention_type: str, visual_cond: bool) -> Kandinsky5Transformer3DModel:
    """A text block and two visual blocks, width 24; gates, which start at zero and would hide the blocks, are random."""
    from diffusers import Kandinsky5Transformer3DModel

    denoiser = Kandinsky5Transformer3DModel(
        in_visual_dim=4,
        out_visual_dim=4,
        in_text_dim=TEXT,
        in_text_dim2=POOLED,
        time_dim=16,
        model_dim=24,
        ff_dim=32,
        num_text_blocks=1,
        num_visual_blocks=2,
        axes_dims=(4, 4, 4),
        visual_cond=visual_cond,
        attention_type=attention_type,
    )
    for name, module in denoiser.named_modules():
        if name.endswith("modulation"):
            torch.nn.init.normal_(module.out_layer.weight, std=0.2)
            torch.nn.init.normal_(module.out_layer.bias, std=0.2)
    return denoiser


@tiny_pipeline
def tiny_kandinsky5(attention_type: str = "regular", visual_cond: bool = True) -> DiffusionPipeline:
    """Kandinsky-5.0-I2V-Pro-sft-5s, with the denoiser's `attention_type` and `visual_cond`."""
    from diffusers import FlowMatchEulerDiscreteScheduler, Kandinsky5I2VPipeline
    from transformers import Qwen2VLImageProcessor, Qwen2VLProcessor, Qwen2VLVideoProcessor

    words, letters = tiny_qwen_tokenizer(TEMPLATE), tiny_clip_tokenizer()
    return Kandinsky5I2VPipeline(
        transformer=tiny_denoiser(attention_type, visual_cond),
        vae=tiny_vae(),
        text_encoder=tiny_qwen_vl(len(words)),
        tokenizer=Qwen2VLProcessor(image_processor=Qwen2VLImageProcessor(), tokenizer=words, video_processor=Qwen2VLVideoProcessor()),
        text_encoder_2=tiny_clip_text(len(letters)),
        tokenizer_2=letters,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=5.0),
    )
