"""Other ways to change a photo within the same budget: what a learned residual has to beat.

Epsilon is true throughout: steps of the 8-bit pixel, counted in the saved file. Much of this field's published code is not: Anti-I2V's
baselines and Dormant clamp to ±16/255 on data in [-1, 1], which is 8/255 of the file, and their step of 1/255 is half a pixel value.
Methods therefore state their steps as shares of epsilon, which means the same in either convention.
"""

from anti_i2v.attacks.descent import SPACES, SpaceName
from anti_i2v.attacks.loop import Settings, optimise
from anti_i2v.attacks.methods import METHODS, NAMES, Method, named_method
from anti_i2v.attacks.parts import ATTACKS, Attack, AttackName, named_attack
from anti_i2v.attacks.photo import PhotoMethod, PhotoNoise
from anti_i2v.evaluation.noise import random_residual, white_noise

__all__ = [
    "ATTACKS",
    "METHODS",
    "NAMES",
    "SPACES",
    "Attack",
    "AttackName",
    "Method",
    "PhotoMethod",
    "PhotoNoise",
    "Settings",
    "SpaceName",
    "named_attack",
    "named_method",
    "optimise",
    "random_residual",
    "white_noise",
]
