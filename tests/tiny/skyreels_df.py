"""A tiny pipeline of SkyReels-V2 diffusion forcing with random weights, built without a download; see `tests.tiny`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.tiny import tiny_text_encoder, tiny_tokenizer
from tests.tiny.parts import tiny_pipeline
from tests.tiny.wan import denoiser_options, schedule, tiny_causal_vae

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline


@tiny_pipeline
def tiny_skyreels_df(**changes: Any) -> DiffusionPipeline:
    """SkyReels-V2-DF-1.3B, which takes a frame rate, with `changes` to what the denoiser is built with; see `tiny_wan21`."""
    from diffusers import SkyReelsV2DiffusionForcingImageToVideoPipeline, SkyReelsV2Transformer3DModel

    options = {**denoiser_options(), "in_channels": 4, "inject_sample_info": True, **changes}
    return SkyReelsV2DiffusionForcingImageToVideoPipeline(
        tokenizer=tiny_tokenizer(),
        text_encoder=tiny_text_encoder(),
        transformer=SkyReelsV2Transformer3DModel(**options),
        vae=tiny_causal_vae(),
        scheduler=schedule(8.0),
    )
