"""Perturbation spaces: how a residual is expressed by few numbers that mean the same at every photo size."""

from anti_i2v.spaces.base import Space
from anti_i2v.spaces.frequency import FrequencySpace
from anti_i2v.spaces.lab import LabSpace
from anti_i2v.spaces.rgb import RgbSpace

__all__ = ["FrequencySpace", "LabSpace", "RgbSpace", "Space"]
