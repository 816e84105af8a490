"""The Wan autoencoder's encoding of a clip, the same numbers with a fraction of the memory.

`AutoencoderKLWan` cannot checkpoint its activations. It reads a clip in chunks, though, the first frame and then four
frames at a time, and a chunk learns of the earlier ones only from a cache of a few frames before each convolution. So the
chunks can be checkpointed one by one (Chen et al., arXiv 1604.06174), with the cache as an argument and a result of each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

if TYPE_CHECKING:
    from diffusers import AutoencoderKLWan

CHUNK = 4
"""Frames that the autoencoder reads at a time after the first, whatever its temporal compression."""


def encode_in_chunks(vae: AutoencoderKLWan, clip: Tensor) -> Tensor:
    """`vae.encode(clip).latent_dist.mode()` with the same values and gradients, which autograd keeps little for.

    Each chunk is computed again in the backward pass, so that autograd keeps what goes into the chunks, and at one time the
    activations of a single chunk. Tiling, which changes the values, is not done, whatever the autoencoder is set to.

    Args:
        vae: In evaluation mode: dropout is not repeated.
        clip: `(B, 3, T, H, W)` in [-1, 1], T = 1 + a multiple of 4; as with `encode`, frames beyond that are not read.

    Returns:
        `(B, channels, latent frames, h, w)`, not normalised.
    """
    if vae.config.patch_size is not None:
        from diffusers.models.autoencoders.autoencoder_kl_wan import patchify

        clip = patchify(clip, patch_size=vae.config.patch_size)

    def encode_chunk(frames: Tensor, *cache: Tensor | None) -> tuple[Tensor, tuple[Tensor | None, ...]]:
        after = list(cache)  # the encoder writes into the list, not into the tensors
        latents: Tensor = vae.encoder(frames, feat_cache=after, feat_idx=[0])
        return latents, tuple(after)

    cache: tuple[Tensor | None, ...] = (None,) * vae._cached_conv_counts["encoder"]
    parts: list[Tensor] = []
    for end in range(1, clip.shape[2] + 1, CHUNK):
        frames = clip[:, :, max(0, end - CHUNK) : end]
        latents, cache = checkpoint(encode_chunk, frames, *cache, use_reentrant=False, preserve_rng_state=False)
        parts.append(latents)
    mean, _ = vae.quant_conv(torch.cat(parts, dim=2)).chunk(2, dim=1)
    return mean  # type: ignore[no-any-return]
