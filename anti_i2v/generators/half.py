"""Weights of a generator folder in half precision: half the bytes, and what is read back, in fp32, is what torch and ONNX run."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from anti_i2v.generators.base import Generator

LARGEST_ERROR = 2.0**-10
"""Of rounding a tensor to half precision, relative to its largest value; what would move further stays as it is."""


def as_stored(value: Tensor) -> Tensor:
    """A tensor of a network's state as a generator folder holds it, on the CPU.

    Matrices and kernels are in half precision, unless their values are so large, or all so small, that rounding would move them by more
    than `LARGEST_ERROR`. Biases, norms and their statistics, a hundredth of the bytes, stay in fp32: a variance may be of any size.
    """
    value = value.detach().cpu().contiguous()
    if value.ndim < 2 or value.dtype != torch.float32 or not value.numel():
        return value
    half = value.half()
    # False also for what is not finite.
    return half if bool((half.float() - value).abs().max() <= LARGEST_ERROR * value.abs().max()) else value


def as_in_file(generator: Generator, weights: Path) -> Generator:
    """A copy of a generator in evaluation mode, with the rounded weights of the file that it was written to.

    Args:
        generator: On the CPU.
        weights: A `model.safetensors`; weights that it does not hold, of another generator or without a file, stay as they are.
    """
    generator = copy.deepcopy(generator).eval()
    stored = load_file(weights) if weights.is_file() else {}
    for name, value in generator.state_dict().items():
        if name in stored and torch.equal(as_stored(value), stored[name]):
            value.copy_(stored[name])
    return generator
