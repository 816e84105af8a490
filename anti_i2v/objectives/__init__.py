"""What the training maximises, expressed on features of a surrogate. See `base.Objective`."""

from anti_i2v.objectives.base import Objective
from anti_i2v.objectives.features import FeatureObjective
from anti_i2v.objectives.identity import IdentityObjective
from anti_i2v.objectives.weighted import WeightedObjective

__all__ = ["FeatureObjective", "IdentityObjective", "Objective", "WeightedObjective"]
