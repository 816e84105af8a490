"""Objectives: the losses that training and per-photo attacks minimise on features of a surrogate. See `base.Objective`."""

from anti_i2v.objectives.anchor import AnchorObjective
from anti_i2v.objectives.base import Objective
from anti_i2v.objectives.collapse import CollapseObjective
from anti_i2v.objectives.diffusion import DiffusionObjective
from anti_i2v.objectives.features import FeatureObjective
from anti_i2v.objectives.identity import IdentityObjective
from anti_i2v.objectives.latent import LatentObjective
from anti_i2v.objectives.lpips import LpipsObjective
from anti_i2v.objectives.perceptual import PerceptualObjective
from anti_i2v.objectives.sds import SdsObjective
from anti_i2v.objectives.targets import target_image
from anti_i2v.objectives.visibility import VisibilityObjective
from anti_i2v.objectives.weighted import WeightedObjective

__all__ = [
    "AnchorObjective",
    "CollapseObjective",
    "DiffusionObjective",
    "FeatureObjective",
    "IdentityObjective",
    "LatentObjective",
    "LpipsObjective",
    "Objective",
    "PerceptualObjective",
    "SdsObjective",
    "VisibilityObjective",
    "WeightedObjective",
    "target_image",
]
