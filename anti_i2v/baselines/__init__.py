"""Other ways to change a photo within the same budget: what a learned residual has to beat."""

from anti_i2v.baselines.attacks import ATTACKS, Attack, AttackName, named_attack
from anti_i2v.baselines.noise import random_residual, white_noise
from anti_i2v.baselines.pgd import PARTS, Part, pgd

__all__ = ["ATTACKS", "PARTS", "Attack", "AttackName", "Part", "named_attack", "pgd", "random_residual", "white_noise"]
