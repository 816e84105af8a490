"""The networks of the second video model of the Portraits: diffusers' own Stable Video Diffusion classes at a size that a laptop trains.

It shares nothing with the first but the rendered people: a U-Net instead of a transformer, an autoencoder without time,
noise that is added instead of mixed in, no prompts, and a photo that arrives by two routes. What damages both is not a
peculiarity of one.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from anti_i2v.errors import UsageError
from anti_i2v.portraits.training.parts import load_part
from anti_i2v.surrogates.families.svd import CLIP_SIZE, resize_for_clip

if TYPE_CHECKING:
    from diffusers import AutoencoderKLTemporalDecoder, StableVideoDiffusionPipeline, UNetSpatioTemporalConditionModel
    from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

HINTS = ("fps", "motion_bucket_id", "noise_aug_strength")
HINT_CHANNELS = 32
"""Channels of the embedding of each hint to the U-Net."""
FPS, MOTION_BUCKET_ID, NOISE_AUG_STRENGTH = 7, 127, 0.02
"""What the pipeline's call assumes by default; the frames per second are the only ones this model knows."""
USUAL_MOTION = 3.4 / 255
"""Mean difference of neighbouring frames, over all pixels, of a clip in which a person talks without moving away: what a call that
says nothing gets. Who only smiles or blinks moves less, who turns the head, nods or walks off moves more."""


def build_autoencoder(channels: tuple[int, ...], latent_channels: int, layers: int) -> AutoencoderKLTemporalDecoder:
    """The autoencoder, untrained: each frame on its own in the encoder, frames together in the decoder.

    Args:
        channels: Of each level, multiples of 32; each further level halves height and width.
        latent_channels: Channels of the latent.
        layers: Residual blocks a level of the encoder; the decoder has one more.

    Raises:
        UsageError: The group norms, of 32 groups, cannot divide the channels.
    """
    from diffusers import AutoencoderKLTemporalDecoder

    _check_channels(channels)
    vae: AutoencoderKLTemporalDecoder = AutoencoderKLTemporalDecoder(
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        block_out_channels=channels,
        layers_per_block=layers,
        latent_channels=latent_channels,
        scaling_factor=1.0,
        force_upcast=False,
    )
    return vae


def encode(vae: AutoencoderKLTemporalDecoder, video: Tensor) -> Tensor:
    """The mean of the posterior, as the pipeline takes it.

    Args:
        vae: The autoencoder.
        video: (B, T, 3, H, W) in [0, 1]; a photo with noise on it may leave the range.

    Returns:
        (B, T, C, h, w), not scaled.
    """
    latents: Tensor = vae.encode(2.0 * video.flatten(0, 1) - 1.0).latent_dist.mode()
    return latents.reshape(*video.shape[:2], *latents.shape[1:])


def decode(vae: AutoencoderKLTemporalDecoder, latents: Tensor) -> Tensor:
    """The inverse of `encode`: latents that are not scaled to (B, T, 3, H, W) in [0, 1]."""
    frames: Tensor = vae.decode(latents.flatten(0, 1), num_frames=latents.shape[1]).sample
    return (frames.float().reshape(*latents.shape[:2], *frames.shape[1:]) + 1.0) / 2.0


def motion_bucket(video: Tensor) -> Tensor:
    """The hint that the model is given of the amount of motion: (B,) from 0, 127 where a person talks, to 255.

    It grows with the root of the change, so that a smile and a nod lie apart although a walking person changes far more.

    Args:
        video: (B, T, 3, H, W) in [0, 1].
    """
    change = video.diff(dim=1).abs().flatten(1).mean(1)
    return (MOTION_BUCKET_ID * (change / USUAL_MOTION).sqrt()).round().clamp(max=255.0)


def build_image_encoder(embedding: int, width: int, layers: int, heads: int, patch: int) -> CLIPVisionModelWithProjection:
    """CLIP's vision transformer, untrained, with patches so large that a laptop can afford the 224 pixels the pipeline insists on."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        image_size=CLIP_SIZE,
        patch_size=patch,
        projection_dim=embedding,
    )
    return CLIPVisionModelWithProjection(config)


def build_image_processor() -> CLIPImageProcessor:
    """CLIP's own mean and deviation of colours; the pipeline has resized the photo before."""
    from transformers import CLIPImageProcessor

    return CLIPImageProcessor(size={"shortest_edge": CLIP_SIZE}, crop_size={"height": CLIP_SIZE, "width": CLIP_SIZE})


def embed(encoder: nn.Module, processor: CLIPImageProcessor, photo: Tensor) -> Tensor:
    """What cross-attention reads of photos (B, 3, H, W) in [0, 1], made as the pipeline makes it: (B, 1, embedding)."""
    mean, std = (torch.tensor(value, device=photo.device).view(1, 3, 1, 1) for value in (processor.image_mean, processor.image_std))
    embeds: Tensor = encoder((resize_for_clip(2.0 * photo - 1.0) - mean) / std).image_embeds
    return embeds.unsqueeze(1)


def build_denoiser(
    latent_channels: int, channels: tuple[int, ...], layers: int, heads: int, embedding: int, num_frames: int
) -> UNetSpatioTemporalConditionModel:
    """The U-Net, untrained; like the published one with attention at every level but the deepest, and in the middle block.

    Args:
        latent_channels: Of the autoencoder; the U-Net reads twice as many, the noisy latents and the photo's.
        channels: Of each level, multiples of 32; each further level halves height and width.
        layers: Residual blocks a level on the way down; on the way up there is one more.
        heads: Attention heads.
        embedding: Width of the photo's embedding.
        num_frames: Length of the clips it is trained on.
    """
    from diffusers import UNetSpatioTemporalConditionModel

    _check_channels(channels)
    unet: UNetSpatioTemporalConditionModel = UNetSpatioTemporalConditionModel(
        in_channels=2 * latent_channels,
        out_channels=latent_channels,
        down_block_types=("CrossAttnDownBlockSpatioTemporal",) * (len(channels) - 1) + ("DownBlockSpatioTemporal",),
        up_block_types=("UpBlockSpatioTemporal",) + ("CrossAttnUpBlockSpatioTemporal",) * (len(channels) - 1),
        block_out_channels=channels,
        addition_time_embed_dim=HINT_CHANNELS,
        projection_class_embeddings_input_dim=HINT_CHANNELS * len(HINTS),
        layers_per_block=layers,
        cross_attention_dim=embedding,
        num_attention_heads=heads,
        num_frames=num_frames,
    )
    return unet


def build_pipeline(
    vae: nn.Module, unet: nn.Module, image_encoder: nn.Module, sigma_min: float, sigma_max: float
) -> StableVideoDiffusionPipeline:
    """The whole pipeline, with the sampler of the published one between other noise levels.

    Args:
        vae: The autoencoder.
        unet: The denoiser.
        image_encoder: CLIP's vision transformer.
        sigma_min: Standard deviation of the noise at the last step.
        sigma_max: At the first.
    """
    from diffusers import EulerDiscreteScheduler, StableVideoDiffusionPipeline

    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        sigma_min=sigma_min,
        sigma_max=sigma_max,
        steps_offset=1,
        timestep_spacing="leading",
        timestep_type="continuous",
        use_karras_sigmas=True,
    )
    return StableVideoDiffusionPipeline(
        vae=vae, image_encoder=image_encoder, unet=unet, scheduler=scheduler, feature_extractor=build_image_processor()
    )


def load_autoencoder(folder: Path) -> AutoencoderKLTemporalDecoder:
    """The trained autoencoder of a pipeline folder, in fp32, frozen.

    Raises:
        UsageError: The autoencoder stage has not written it yet.
    """
    from diffusers import AutoencoderKLTemporalDecoder

    remedy = "train it first: python train.py fit --config configs/pretrain_portrait_unet_autoencoder.yaml"
    vae: AutoencoderKLTemporalDecoder = load_part(AutoencoderKLTemporalDecoder, folder, "vae", remedy)
    return vae.eval().requires_grad_(False)


def _check_channels(channels: tuple[int, ...]) -> None:
    if not channels or any(width < 32 or width % 32 for width in channels):
        raise UsageError(f"channels are {channels}; each must be a multiple of 32, which the group norms divide them into")
