"""The frequency space: low coefficients of an orthonormal DCT-II, one set for all photo sizes.

The basis is written as cosines of the position within the photo, not of a pixel index, so the same coefficients give
the same pattern on a thumbnail and on 12 megapixels. Matrix products, not an FFT: ONNX runtimes fail on the FFT.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from anti_i2v.imaging.cielab import Floats
from anti_i2v.spaces.base import Space, product

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class FrequencySpace(Space):
    """RGB residual from (B, 3, K, K) DCT coefficients: ε/255 times their expansion at the photo's size.

    Scale: on K × K pixels the expansion is exactly the orthonormal inverse DCT, so the DCT coefficients of a K × K
    picture with values around ±1 make a residual of about ± one epsilon, at every size.
    """

    channels = 3

    def expand(self, parameters: Tensor, height: int, width: int) -> Tensor:
        """See `Space.expand`; parameters (B, 3, K, K), row frequency first."""
        sizes = zip((height, width), parameters.shape[-2:], strict=True)
        rows, columns = (cosines(size, count, parameters.device) for size, count in sizes)
        return product(parameters, rows, columns)

    def basis(self, size: int, count: int) -> Floats:
        return cosine_basis(size, count)


def cosine_basis(size: int, count: int) -> Floats:
    """The basis s(u)·cos(π(i+½)u/size), orthonormal for size = count.

    Args:
        size: Pixels along the axis, ≥ 1.
        count: Frequencies u = 0 … count − 1; those from `size` on would alias and are zero.

    Returns:
        (size, count), with s(0) = √(1/count) and s(u) = √(2/count).
    """
    # fp64 and then rounded: cosines of large angles lose digits in fp32.
    place, frequency = (np.arange(size) + 0.5) / size, np.arange(count)
    basis = np.cos(math.pi * place[:, None] * frequency) * math.sqrt(2 / count)
    basis[:, 0] = math.sqrt(1 / count)
    basis[:, size:] = 0
    return basis.astype(np.float32)


def cosines(size: int, count: int, device: torch.device | None = None) -> Tensor:
    """`cosine_basis` as a tensor on a device."""
    import torch

    return torch.from_numpy(cosine_basis(size, count)).to(device)


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
    down = cosines(height, rows, x.device) * math.sqrt(rows / height)  # orthonormal columns
    across = cosines(width, columns, x.device) * math.sqrt(columns / width)
    return product(product(x, down.T, across.T), down, across)
