"""Per-photo attacks: published methods that optimise one photo by gradient steps, within the same budget as the generator.

One method a file, one loop for all of them, and a table of their names.

Epsilon is true throughout: steps of the 8-bit pixel, counted in the saved file. Much of this field's published code is not: Anti-I2V's
baselines and Dormant clamp to ±16/255 on data in [-1, 1], which is 8/255 of the file, and their step of 1/255 is half a pixel value.
Methods therefore state their steps as shares of epsilon, which means the same in either convention.
"""

from anti_i2v.attacks.loop import Settings, optimise
from anti_i2v.attacks.methods import METHODS, NAMES, Method, named_method

__all__ = ["METHODS", "NAMES", "Method", "Settings", "named_method", "optimise"]
