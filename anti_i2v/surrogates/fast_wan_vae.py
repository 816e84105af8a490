"""The Wan autoencoder, same function and same weights, cheaper for single frames on a CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from diffusers import AutoencoderKLWan


def accelerate_vae(vae: AutoencoderKLWan) -> AutoencoderKLWan:
    """Make the same function cheaper on a CPU, in place.

    A causal 3-D convolution over one frame multiplies two thirds of its weights by padding: the last temporal slice as a
    2-D convolution gives the same numbers at a third of the cost. The RMS norm loses four passes over memory.
    Weights, names and configuration stay as they are.
    """
    from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d, WanRMS_norm

    class FastConv(WanCausalConv3d):  # type: ignore[misc]
        def forward(self, x: Tensor, cache_x: Tensor | None = None) -> Tensor:
            single_frame = x.shape[2] == 1 and self.stride[0] == 1 and (cache_x is None or self._padding[4] == 0)
            if not single_frame:
                return super().forward(x, cache_x)  # type: ignore[no-any-return]
            frame = F.pad(x.squeeze(2), self._padding[:4])
            return F.conv2d(frame, self.weight[:, :, -1], self.bias, self.stride[1:]).unsqueeze(2)

    class FastNorm(WanRMS_norm):  # type: ignore[misc]
        def forward(self, x: Tensor) -> Tensor:
            dim = 1 if self.channel_first else -1
            dtype = torch.promote_types(x.dtype, torch.float32)
            norm = torch.linalg.vector_norm(x, dim=dim, keepdim=True, dtype=dtype).clamp_min(1e-12)
            out: Tensor = x * (self.scale / norm).to(x.dtype) * self.gamma.to(x.dtype) + self.bias
            return out

    for module in vae.modules():
        if type(module) is WanCausalConv3d:
            module.__class__ = FastConv
        elif type(module) is WanRMS_norm and not isinstance(module.bias, nn.Parameter):
            module.__class__ = FastNorm
    return vae
