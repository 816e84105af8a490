"""The frequency space: low coefficients of an orthonormal DCT-II, one set for all photo sizes.

The basis is written as cosines of the position within the photo, not of a pixel index, so the same coefficients draw
the same pattern on a thumbnail and on 12 megapixels. Matrix products, not an FFT: ONNX runtimes fail on the FFT.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from anti_i2v.spaces.base import Space, expand


def cosine_basis(size: int, count: int, start: int = 0, stop: int | None = None, device: torch.device | None = None) -> Tensor:
    """Rows `start … stop` of the basis s(u)·cos(π(i+½)u/size), orthonormal for size = count.

    Args:
        size: Pixels along the axis, ≥ 1.
        count: Frequencies u = 0 … count − 1; those from `size` on would alias and are zero.
        start: First pixel wanted.
        stop: One after the last pixel wanted; `size` by default.
        device: Where to make it.

    Returns:
        (stop − start, count) float32, with s(0) = √(1/count) and s(u) = √(2/count).
    """
    # fp64 on the CPU and then rounded: cosines of large angles lose digits in fp32, and some devices have no fp64.
    place = (torch.arange(start, size if stop is None else stop, dtype=torch.float64) + 0.5) / size
    frequency = torch.arange(count, dtype=torch.float64)
    basis = torch.cos(math.pi * place[:, None] * frequency) * math.sqrt(2 / count)
    basis[:, 0] = math.sqrt(1 / count)
    basis[:, size:] = 0
    return basis.to(device, torch.float32)


def dct2(x: Tensor) -> Tensor:
    """Orthonormal two-dimensional DCT-II of the last two axes, as scipy.fft.dctn(norm="ortho"); fp32.

    Args:
        x: (B, C, H, W).

    Returns:
        (B, C, H, W) float32 coefficients, row frequency first.
    """
    height, width = x.shape[-2:]
    rows, columns = cosine_basis(height, height, device=x.device), cosine_basis(width, width, device=x.device)
    return expand(x, rows.T, columns.T)


def idct2(coefficients: Tensor) -> Tensor:
    """The inverse of `dct2`, same shapes."""
    height, width = coefficients.shape[-2:]
    device = coefficients.device
    return expand(coefficients, cosine_basis(height, height, device=device), cosine_basis(width, width, device=device))


def low_pass(x: Tensor, rows: int, columns: int) -> Tensor:
    """The part of pictures that `FrequencySpace` can express with (rows, columns) coefficients: the nearest such picture.

    Args:
        x: (B, C, H, W).
        rows: Row frequencies that are kept.
        columns: Column frequencies that are kept.

    Returns:
        (B, C, H, W) float32.
    """
    height, width = x.shape[-2:]
    down = cosine_basis(height, rows, device=x.device) * math.sqrt(rows / height)  # orthonormal columns
    across = cosine_basis(width, columns, device=x.device) * math.sqrt(columns / width)
    return expand(expand(x, down.T, across.T), down, across)


class FrequencySpace(Space):
    """RGB residual from (B, 3, K, K) DCT coefficients: ε/255 times their expansion at the photo's size.

    Scale: on K × K pixels the expansion is exactly the orthonormal inverse DCT, so coefficients that are the `dct2`
    of a K × K picture with values around ±1 make a residual of about ± one epsilon, at every size.
    """

    channels = 3

    def residual(self, image: Tensor, parameters: Tensor, epsilon: Tensor, top: int = 0, height: int | None = None) -> Tensor:
        """See `Space.residual`; parameters (B, 3, K, K), row frequency first. Only the shape of `image` matters."""
        strip, width = image.shape[-2:]
        device = parameters.device
        rows = cosine_basis(height or strip, parameters.shape[-2], top, top + strip, device)
        columns = cosine_basis(width, parameters.shape[-1], device=device)
        return epsilon.float().view(-1, 1, 1, 1) / 255 * expand(parameters, rows, columns)
