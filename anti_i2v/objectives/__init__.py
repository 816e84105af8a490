"""What the training maximises, expressed on features of a surrogate. See `base.Objective`."""

from anti_i2v.objectives.base import Objective
from anti_i2v.objectives.features import FeatureObjective

__all__ = ["FeatureObjective", "Objective"]
