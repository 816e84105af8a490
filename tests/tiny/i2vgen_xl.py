"""A tiny I2VGen-XL pipeline with random weights, built without a download; see `tests.tiny`."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from tests.tiny.tokenizers import tiny_clip_tokenizer

FRAMES = 3
SCALING = 0.6
WIDTH = 16
"""Of the tokens of prompt and photo."""


def tiny_i2vgen_xl(folder: str | Path) -> Path:
    """Write a pipeline whose pictures are multiples of 8, its weights in half precision; taps such as `down_blocks.0`, `mid_block`.

    Args:
        folder: Where to write; created if missing.

    Returns:
        `folder`.
    """
    from diffusers import AutoencoderKL, DDIMScheduler, I2VGenXLPipeline, I2VGenXLUNet
    from transformers import CLIPImageProcessor, CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModelWithProjection

    tokenizer = tiny_clip_tokenizer(20)
    size = {"hidden_size": WIDTH, "intermediate_size": 32, "num_attention_heads": 2}
    words = {"vocab_size": len(tokenizer), "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    with torch.random.fork_rng(devices=[]):  # the caller's global random state stays as it was
        torch.manual_seed(0)
        unet = I2VGenXLUNet(
            block_out_channels=(8, 16),
            layers_per_block=1,
            down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
            up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
            cross_attention_dim=WIDTH,
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
        text = CLIPTextModel(CLIPTextConfig(num_hidden_layers=3, max_position_embeddings=20, projection_dim=WIDTH, **size, **words))
        vision = CLIPVisionConfig(num_hidden_layers=1, image_size=28, patch_size=14, projection_dim=WIDTH, **size)
        pipeline = I2VGenXLPipeline(
            vae=vae.half(),
            text_encoder=text.half(),
            tokenizer=tokenizer,
            image_encoder=CLIPVisionModelWithProjection(vision).half(),
            feature_extractor=CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}),
            unet=unet.half(),
            scheduler=DDIMScheduler(
                beta_schedule="squaredcos_cap_v2",
                clip_sample=False,
                prediction_type="v_prediction",
                rescale_betas_zero_snr=True,
                steps_offset=1,
            ),
        )
    pipeline.save_pretrained(folder)
    return Path(folder)


def text_encoder_as_the_pipeline_expects_it(folder: Path) -> dict[str, nn.Module]:
    """The pipeline's text encoder with `text_model`, which it had before transformers 5 and without which the pipeline's call fails."""
    from transformers import CLIPTextModel

    encoder: nn.Module = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32, use_safetensors=True)
    if not hasattr(encoder, "text_model"):
        object.__setattr__(encoder, "text_model", encoder)
    return {"text_encoder": encoder}
