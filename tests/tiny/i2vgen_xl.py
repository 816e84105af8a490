"""A tiny I2VGen-XL pipeline with random weights, built without a download; see `tests.tiny`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from tests.tiny.parts import TEXT, tiny_clip_processor, tiny_clip_text, tiny_clip_vision, tiny_pipeline
from tests.tiny.tokenizers import tiny_clip_tokenizer

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

FRAMES = 3
SCALING = 0.6


@tiny_pipeline
def tiny_i2vgen_xl() -> DiffusionPipeline:
    """I2VGen-XL, whose pictures are multiples of 8; taps such as `down_blocks.0`, `mid_block`."""
    from diffusers import AutoencoderKL, DDIMScheduler, I2VGenXLPipeline, I2VGenXLUNet

    tokenizer = tiny_clip_tokenizer(20)
    unet = I2VGenXLUNet(
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
        cross_attention_dim=TEXT,
        attention_head_dim=4,
        norm_num_groups=2,
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=4,
        norm_num_groups=2,
        scaling_factor=SCALING,
    )
    return I2VGenXLPipeline(
        vae=vae,
        text_encoder=tiny_clip_text(len(tokenizer), TEXT, layers=3, length=20),
        tokenizer=tokenizer,
        image_encoder=tiny_clip_vision(28, 14),
        feature_extractor=tiny_clip_processor(28),
        unet=unet,
        scheduler=DDIMScheduler(
            beta_schedule="squaredcos_cap_v2",
            clip_sample=False,
            prediction_type="v_prediction",
            rescale_betas_zero_snr=True,
            steps_offset=1,
        ),
    )


def own_text_encoder(folder: Path) -> dict[str, nn.Module]:
    """The pipeline's text encoder with `text_model`, which it had before transformers 5 and without which the pipeline's call fails."""
    from transformers import CLIPTextModel

    encoder: nn.Module = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32, use_safetensors=True)
    if not hasattr(encoder, "text_model"):
        object.__setattr__(encoder, "text_model", encoder)
    return {"text_encoder": encoder}
