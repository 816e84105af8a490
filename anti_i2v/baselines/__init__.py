"""Other ways to change a photo within the same budget: what a learned residual has to beat."""

from anti_i2v.baselines.noise import random_residual, white_noise

__all__ = ["random_residual", "white_noise"]
