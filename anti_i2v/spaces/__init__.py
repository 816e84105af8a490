"""Perturbation spaces: how a residual is made of few numbers that mean the same at every photo size.

Each space is one file that holds it twice: differentiable in torch, for training and tensors, and in NumPy, for photos of
bytes. A new space is such a file, its test and its row in `SPACES`. Only a differentiable residual needs torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from anti_i2v.spaces.base import Space
from anti_i2v.spaces.frequency import FrequencySpace
from anti_i2v.spaces.lab import LabSpace
from anti_i2v.spaces.rgb import RgbSpace

__all__ = ["SPACES", "FrequencySpace", "LabSpace", "RgbSpace", "Space"]

SPACES: Mapping[str, Space] = MappingProxyType({"lab": LabSpace(), "frequency": FrequencySpace(), "rgb": RgbSpace()})
"""What the keys of a generator's output mean."""
