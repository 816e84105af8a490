"""The autoencoder classes of diffusers that read photos, and how each is called: the same code for pipelines and for autoencoders alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from anti_i2v.imaging.tensors import unit
from anti_i2v.surrogates.fast_wan_vae import accelerate_vae

if TYPE_CHECKING:
    from diffusers import ModelMixin

PICTURES = (
    "AsymmetricAutoencoderKL",
    "AutoencoderDC",
    "AutoencoderKL",
    "AutoencoderKLFlux2",
    "AutoencoderKLHunyuanImage",
    "AutoencoderKLTemporalDecoder",
    "AutoencoderTiny",
)
"""Classes that encode pictures `(B, 3, H, W)`."""

VIDEOS = (
    "AutoencoderKLCogVideoX",
    "AutoencoderKLHunyuanVideo",
    "AutoencoderKLHunyuanVideo15",
    "AutoencoderKLLTX2Video",
    "AutoencoderKLLTXVideo",
    "AutoencoderKLMiniMaxH3",
    "AutoencoderKLQwenImage",
    "AutoencoderKLWan",
)
"""Classes that encode clips `(B, 3, T, H, W)`, and a photo as a clip of one frame."""

TINY_VIDEO = "TinyVideoAutoencoder"
"""The class of our own that does, see `tiny_video`."""

TIMED = ("AutoencoderKLLTX2Video", "AutoencoderKLLTXVideo")
"""Classes whose decoder may take a timestep, and add noise of its own (LTX 0.9.1)."""

DECODE_TIMESTEP = 0.0
"""The decoder's timestep by default in the calls of these pipelines, also the share of noise that they mix into the latents: none."""

DECODER_SEED = 0
"""Of the decoder's own noise; a pipeline leaves it to chance, here it is always the same."""

IMAGENET = ("AutoencoderKLMiniMaxH3",)
"""Classes that take pixels in [0, 1], normalised by mean and standard deviation of ImageNet; the others take [-1, 1]."""
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def freeze(vae: ModelMixin) -> None:
    """Freeze an autoencoder in place and make it work on several photos at once, on a CPU too."""
    vae.requires_grad_(False).eval()
    name = type(vae).__name__
    if name == "AutoencoderKLWan":
        accelerate_vae(vae)
    if name == "AutoencoderKLHunyuanVideo15":
        vae.enable_slicing()  # clip by clip: the mask of its attention has the wrong shape for several


def encode_pixels(vae: ModelMixin, pixels: Tensor) -> Tensor:
    """Pictures `(B, 3, H, W)` or clips `(B, 3, T, H, W)`, as the class takes them → the most likely latents, not scaled."""
    return most_likely(vae.encode(pixels))


def most_likely(output: object) -> Tensor:
    """The most likely latents in what an autoencoder's `encode` returns."""
    for name in ("latents", "latent"):  # classes without a distribution
        if hasattr(output, name):
            latents: Tensor = getattr(output, name)
            return latents
    latents = output.latent_dist.mode()  # type: ignore[attr-defined]
    return latents


def decode_pixels(vae: ModelMixin, latents: Tensor) -> Tensor:
    """The autoencoder's own latents → pictures or clips, as the class gives them; each picture alone."""
    name = type(vae).__name__
    if name == "AutoencoderKLTemporalDecoder":
        pixels: Tensor = vae.decode(latents, num_frames=1, return_dict=False)[0]
        return pixels
    if name not in TIMED:
        pixels = vae.decode(latents, return_dict=False)[0]
        return pixels
    timestep = None
    if vae.config.timestep_conditioning:
        timestep = torch.full((len(latents),), DECODE_TIMESTEP, device=latents.device)
    devices = [latents.device] if latents.device.type == "cuda" else []
    with torch.random.fork_rng(devices):  # the decoder can only draw from the global random state
        torch.manual_seed(DECODER_SEED)
        pixels = vae.decode(latents, timestep, return_dict=False)[0]
    return pixels


def encode_photos(vae: ModelMixin, image: Tensor) -> Tensor:
    """Photos `(B, 3, H, W)` in [0, 1] → the most likely latents, not scaled: `(B, channels, h, w)`, of videos `(B, channels, 1, h, w)`."""
    return encode_pixels(vae, to_pixels(vae, image))


def to_pixels(vae: ModelMixin, image: Tensor) -> Tensor:
    """Photos `(B, 3, H, W)` in [0, 1] as the class takes them: pictures, or clips `(B, 3, 1, H, W)`, and in which range."""
    name = type(vae).__name__
    mean, std = _pixel_statistics(name, image)
    pixels = (unit(image) - mean) / std if name in IMAGENET else unit(image) * 2 - 1
    return pixels.unsqueeze(2) if name in (*VIDEOS, TINY_VIDEO) else pixels


def decode_photos(vae: ModelMixin, latents: Tensor) -> Tensor:
    """Latents of `encode_photos` → photos `(B, 3, H, W)` in [0, 1]; of a video the first frame."""
    name = type(vae).__name__
    if name == "AutoencoderKLMiniMaxH3":  # it decodes no clip shorter than this, so the photo stands still for as long
        latents = latents.expand(-1, -1, vae.tokens_chunk_size + vae.token_overlap, -1, -1)
    pixels = decode_pixels(vae, latents)
    pixels = pixels[:, :, 0] if pixels.ndim == 5 else pixels
    mean, std = _pixel_statistics(name, pixels)
    return unit(pixels * std + mean if name in IMAGENET else pixels / 2 + 0.5)


def _pixel_statistics(name: str, like: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation by which pixels in [0, 1] are normalised, `(1, 3, 1, 1)`."""
    mean, std = (like.new_tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return mean, std


STATISTICS = ("latents_mean", "latents_std")
"""Entries of the configuration, or buffers, with one value a channel."""


def normalise(vae: ModelMixin, latents: Tensor) -> Tensor:
    """Latents in the units that a denoiser knows them in, where the class states a mean and a deviation of each channel.

    A factor common to all channels is left out: it changes no distance between features.
    """
    buffers = dict(vae.named_buffers(recurse=False))
    values = [buffers.get(key, vae.config.get(key)) for key in STATISTICS]
    if any(value is None for value in values):
        return latents
    shape = (1, -1) + (1,) * (latents.ndim - 2)
    mean, std = (torch.as_tensor(value, dtype=latents.dtype, device=latents.device).view(shape) for value in values)
    return (latents - mean) / std


FACTORS = ("spatial_compression_ratio", "scale_factor_spatial")
"""Entries of the configuration, or attributes, with the number of pixels that become one of the latent, along a side."""
LEVELS = ("block_out_channels", "down_block_out_channels")
"""Where there is none of these, entries with a value for each level of the encoder, between which sizes are halved."""


def latent_factor(vae: ModelMixin) -> int:
    """Rows, or columns, of pixels that become one of the latent."""
    stated = [value for key in FACTORS if (value := vae.config.get(key) or vars(vae).get(key)) is not None]
    if stated:
        return int(stated[0])
    levels = next(vae.config[key] for key in LEVELS if key in vae.config)
    return int(2 ** (len(levels) - 1))
