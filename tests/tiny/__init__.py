"""Tiny real pipelines with random weights, built without a download.

Tests run the real diffusers classes, at a size a laptop core handles in milliseconds, instead of mocks: what holds for
these folders holds for the shipped and the public ones, which differ only in numbers of the configuration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.tiny.parts import TEXT, tiny_pipeline

if TYPE_CHECKING:
    from diffusers import AutoencoderKLWan, DiffusionPipeline, WanTransformer3DModel
    from transformers import T5TokenizerFast, UMT5EncoderModel

HEIGHT = WIDTH = 32
FRAMES = 5
BLOCKS = 4


def tiny_tokenizer(max_length: int = 32) -> T5TokenizerFast:
    """A character-level tokenizer of the class Wan uses."""
    from transformers import T5TokenizerFast

    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    vocab += [(c, -3.0) for c in "abcdefghijklmnopqrstuvwxyz0123456789.,!?'-"]
    return T5TokenizerFast(vocab=vocab, extra_ids=0, model_max_length=max_length)


def tiny_text_encoder() -> UMT5EncoderModel:
    """A two-layer UMT5 encoder."""
    from transformers import UMT5Config, UMT5EncoderModel

    config = UMT5Config(vocab_size=48, d_model=TEXT, d_kv=8, d_ff=24, num_layers=2, num_heads=2, decoder_start_token_id=0)
    return UMT5EncoderModel(config)


def tiny_vae() -> AutoencoderKLWan:
    """The residual, patchified autoencoder of Wan 2.2 TI2V-5B: 32×32, 5 frames → latents (4, 3, 4, 4)."""
    from diffusers import AutoencoderKLWan

    return AutoencoderKLWan(
        base_dim=8,
        decoder_base_dim=8,
        z_dim=4,
        dim_mult=[1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True],
        is_residual=True,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_spatial=8,
        scale_factor_temporal=2,
        latents_mean=[0.1, -0.2, 0.05, 0.0],
        latents_std=[1.5, 0.5, 0.8, 1.2],
    )


def tiny_denoiser() -> WanTransformer3DModel:
    """A Wan transformer of `BLOCKS` blocks, width 32."""
    from diffusers import WanTransformer3DModel

    return WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=4,
        out_channels=4,
        text_dim=TEXT,
        freq_dim=16,
        ffn_dim=32,
        num_layers=BLOCKS,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        rope_max_seq_len=64,
    )


@tiny_pipeline
def tiny_portrait_dit() -> DiffusionPipeline:
    """The layout of Wan 2.2 TI2V-5B: pictures are 32×32, clips 5 frames, the denoiser has the blocks `blocks.0` to `blocks.3`."""
    from diffusers import UniPCMultistepScheduler, WanImageToVideoPipeline

    return WanImageToVideoPipeline(
        tokenizer=tiny_tokenizer(),
        text_encoder=tiny_text_encoder(),
        vae=tiny_vae(),
        transformer=tiny_denoiser(),
        scheduler=UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, num_train_timesteps=1000, flow_shift=2.0
        ),
        expand_timesteps=True,
    )
