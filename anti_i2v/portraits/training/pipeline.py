"""The networks of the first video model of the Portraits: diffusers' own Wan 2.2 TI2V classes at a size that a laptop trains.

Why real classes: the folder is loaded by `DiffusionPipeline.from_pretrained` like any published model, so it
is attacked, protected and judged by the same code as the large models. Nothing here is downloaded.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.portraits.training.parts import load_part
from anti_i2v.surrogates.fast_wan_vae import accelerate_vae

if TYPE_CHECKING:
    from diffusers import AutoencoderKLWan, WanImageToVideoPipeline, WanTransformer3DModel
    from transformers import T5TokenizerFast, UMT5EncoderModel

TEXT_LENGTH = 24
"""Tokens of a padded prompt. Cross-attention sees the padding (as in Wan), so it belongs to the model."""

PATCH = 4
"""Pixels of a patch's side: the convolutions work on a quarter of the picture's height and width."""
SPATIAL_FACTOR = 16
TEMPORAL_FACTOR = 2


def build_autoencoder(base_dim: int, z_dim: int, dim_mult: tuple[int, int, int], num_res_blocks: int) -> AutoencoderKLWan:
    """The Wan 2.2 autoencoder (patches, residual resamplers), untrained: 16x in space like the published one, 2x in time.

    Patches of 4 instead of 2: the same 16x at a quarter of the cost.

    Args:
        base_dim: Channels of the first level, in encoder and decoder.
        z_dim: Channels of the latent.
        dim_mult: Channels of the three levels as multiples of `base_dim`.
        num_res_blocks: Residual blocks a level.
    """
    from diffusers import AutoencoderKLWan

    vae: AutoencoderKLWan = AutoencoderKLWan(
        base_dim=base_dim,
        decoder_base_dim=base_dim,
        z_dim=z_dim,
        dim_mult=list(dim_mult),
        num_res_blocks=num_res_blocks,
        temperal_downsample=[False, True],
        latents_mean=[0.0] * z_dim,
        latents_std=[1.0] * z_dim,
        is_residual=True,
        in_channels=3 * PATCH**2,
        out_channels=3 * PATCH**2,
        patch_size=PATCH,
        scale_factor_spatial=SPATIAL_FACTOR,
        scale_factor_temporal=TEMPORAL_FACTOR,
    )
    return vae


def encode(vae: AutoencoderKLWan, video: Tensor) -> Tensor:
    """The mean of the posterior, as the Wan pipeline takes it.

    Args:
        vae: The autoencoder.
        video: (B, T, 3, H, W) in [0, 1]; T is 4k + 1, H and W multiples of 16.

    Returns:
        (B, C, 1 + (T - 1) / 2, H / 16, W / 16), not normalised.
    """
    if video.shape[1] % 4 != 1:
        raise UsageError(f"{video.shape[1]} frames; the autoencoder takes 1, 5, 9, …: four at a time after the first")
    latents: Tensor = vae.encode((2.0 * video - 1.0).transpose(1, 2)).latent_dist.mode()
    return latents


def decode(vae: AutoencoderKLWan, latents: Tensor) -> Tensor:
    """The inverse of `encode`: latents that are not normalised to (B, T, 3, H, W) in [0, 1]."""
    video: Tensor = vae.decode(latents).sample
    return (video.float().transpose(1, 2) + 1.0) / 2.0


def statistics(vae: AutoencoderKLWan, like: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the latent channels, each (1, C, 1, 1, 1), on the device of `like`."""
    shape = (1, -1, 1, 1, 1)
    mean = torch.tensor(vae.config.latents_mean, device=like.device, dtype=torch.float32).view(shape)
    std = torch.tensor(vae.config.latents_std, device=like.device, dtype=torch.float32).view(shape)
    return mean, std


def build_tokenizer(prompts: Iterable[str]) -> T5TokenizerFast:
    """A T5 tokenizer whose vocabulary is the words of `prompts`, with single characters for all other words."""
    from transformers import T5TokenizerFast

    words = sorted({word.strip(".,") for prompt in prompts for word in prompt.split()} - {""})
    characters = "".join(chr(code) for code in range(33, 127))
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -8.0)]
    vocabulary += [("▁" + word, -4.0) for word in words if len(word) > 1]
    vocabulary += [("▁" + char, -6.0) for char in characters] + [(char, -8.0) for char in characters]
    return T5TokenizerFast(vocab=vocabulary, extra_ids=0, model_max_length=TEXT_LENGTH)


def build_text_encoder(vocabulary: int, text_dim: int) -> UMT5EncoderModel:
    """A frozen, random UMT5 encoder: it tells prompts apart, and the denoiser learns what they mean."""
    from transformers import UMT5Config, UMT5EncoderModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = UMT5Config(
            vocab_size=vocabulary,
            d_model=text_dim,
            d_kv=max(8, text_dim // 4),
            d_ff=2 * text_dim,
            num_layers=2,
            num_heads=4,
            decoder_start_token_id=0,
        )
        return UMT5EncoderModel(config).eval().requires_grad_(False)


def build_denoiser(z_dim: int, heads: int, head_dim: int, layers: int, ffn_dim: int, text_dim: int) -> WanTransformer3DModel:
    """The Wan 2.2 TI2V transformer, untrained. Width is `heads` x `head_dim`; tokens are 2x2 latent pixels."""
    from diffusers import WanTransformer3DModel

    transformer: WanTransformer3DModel = WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=heads,
        attention_head_dim=head_dim,
        in_channels=z_dim,
        out_channels=z_dim,
        text_dim=text_dim,
        freq_dim=64,
        ffn_dim=ffn_dim,
        num_layers=layers,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        rope_max_seq_len=64,
    )
    return transformer


def build_pipeline(
    vae: AutoencoderKLWan, transformer: WanTransformer3DModel, prompts: Iterable[str], flow_shift: float
) -> WanImageToVideoPipeline:
    """The whole pipeline in the layout of Wan 2.2 TI2V-5B: the photo's latent replaces latent frame 0.

    Args:
        vae: The autoencoder.
        transformer: The denoiser; its `text_dim` sizes the text encoder.
        prompts: Texts whose words become tokens.
        flow_shift: How far the sampler's noise levels lean to noise; 1 is even.
    """
    from diffusers import UniPCMultistepScheduler, WanImageToVideoPipeline

    tokenizer = build_tokenizer(prompts)
    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=flow_shift)
    return WanImageToVideoPipeline(
        tokenizer=tokenizer,
        text_encoder=build_text_encoder(len(tokenizer), transformer.config.text_dim),
        vae=vae,
        transformer=transformer,
        scheduler=scheduler,
        expand_timesteps=True,
    )


def load_autoencoder(folder: Path) -> AutoencoderKLWan:
    """The trained autoencoder of a pipeline folder, in fp32, frozen.

    Raises:
        UsageError: The autoencoder stage has not written it yet.
    """
    from diffusers import AutoencoderKLWan

    remedy = "train it first: python train.py fit --config configs/pretrain_portrait_autoencoder.yaml"
    return accelerate_vae(load_part(AutoencoderKLWan, folder, "vae", remedy).eval().requires_grad_(False))
