"""A tiny pipeline of SkyReels-V2 diffusion forcing with random weights, built without a download; see `tests.tiny`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tests.tiny import tiny_text_encoder, tiny_tokenizer
from tests.tiny.wan import denoiser_options, schedule, tiny_causal_vae


def tiny_skyreels_df(folder: str | Path, **changes: Any) -> Path:
    """Write a pipeline in the layout of SkyReels-V2-DF-1.3B, which is told the frame rate, its weights in half precision.

    Args:
        folder: Where to write; created if missing.
        changes: To what the denoiser is built with.

    Returns:
        `folder`. Pictures are multiples of 16, clips 1 + a multiple of 4 frames, the denoiser has `blocks.0` to `blocks.3`.
    """
    from diffusers import SkyReelsV2DiffusionForcingImageToVideoPipeline, SkyReelsV2Transformer3DModel

    with torch.random.fork_rng(devices=[]):  # the caller's global random state stays as it was
        torch.manual_seed(0)
        options = {**denoiser_options(), "in_channels": 4, "inject_sample_info": True, **changes}
        pipeline = SkyReelsV2DiffusionForcingImageToVideoPipeline(
            tokenizer=tiny_tokenizer(),
            text_encoder=tiny_text_encoder().half(),
            transformer=SkyReelsV2Transformer3DModel(**options).half(),
            vae=tiny_causal_vae().half(),
            scheduler=schedule(8.0),
        )
    pipeline.save_pretrained(folder)
    return Path(folder)
