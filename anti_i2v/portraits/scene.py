"""Everything about a clip that is not identity: clothes, beard, hair style, glasses, background, light, colour cast, framing, grain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from anti_i2v.portraits.draws import SeededDraws

CLOTHES = torch.tensor(
    [
        [0.12, 0.13, 0.16],
        [0.16, 0.21, 0.33],
        [0.30, 0.38, 0.50],
        [0.42, 0.42, 0.43],
        [0.78, 0.76, 0.73],
        [0.62, 0.55, 0.45],
        [0.36, 0.38, 0.28],
        [0.40, 0.17, 0.19],
    ]
)
WALLS = torch.tensor(
    [
        [0.82, 0.79, 0.74],
        [0.66, 0.64, 0.61],
        [0.55, 0.58, 0.60],
        [0.47, 0.50, 0.44],
        [0.56, 0.47, 0.38],
        [0.36, 0.31, 0.28],
        [0.28, 0.32, 0.36],
        [0.70, 0.74, 0.78],
    ]
)
BLOBS = 3


@dataclass(frozen=True)
class Scene:
    """N scenes. Positions are in half picture heights from the centre, colours sRGB in [0, 1]."""

    shirt: Tensor  # (N, 3)
    trim: Tensor  # (N, 3) colour of stripes and collar
    wall: Tensor  # (N, 2, 3) the two ends of the background's gradient
    blobs: Tensor  # (N, BLOBS, 3) colours of the objects in the background
    cast: Tensor  # (N, 3) gain of each channel: exposure and colour of the light
    value: dict[str, Tensor]  # name → (N,)
    blob: dict[str, Tensor]  # name → (N, BLOBS)

    def __getitem__(self, name: str) -> Tensor:
        return self.value[name]


def sample_scenes(seeds: Sequence[int]) -> Scene:
    """Draw the scenes with these seeds."""
    draws = SeededDraws(seeds, 96)
    value = {
        "x": draws.uniform(-0.22, 0.22),
        "y": draws.uniform(-0.16, 0.10),
        "scale": draws.uniform(1.15, 1.60),
        "roll": draws.normal(0.06),
        "yaw": draws.normal(0.16),
        "pitch": draws.normal(0.08),
        "gaze": draws.normal(0.3),
        "smile": draws.uniform(-0.12, 0.25),
        "amplitude": draws.uniform(0.88, 1.12),
        "light_x": draws.uniform(-0.32, 0.32),
        "light_y": draws.uniform(-0.26, 0.06),
        "glasses": draws.coin(0.25),
        "rim": draws.uniform(0.05, 0.35),
        "collar": draws.uniform(0.0, 0.34),
        "stripes": draws.coin(0.35) * draws.uniform(0.15, 0.5),
        "stripe_width": draws.uniform(9.0, 22.0),
        "tilt": draws.uniform(-1.6, 1.6),
        "texture": draws.uniform(0.0, 0.05),
        "grain": draws.uniform(0.002, 0.014),
        "gamma": draws.uniform(0.88, 1.14),
        "softness": draws.uniform(0.9, 1.5),  # edge width in pixels: focus of the lens
    }
    gain = draws.uniform(0.74, 1.08)[:, None]
    cast = gain * (1 + draws.tint(0.06))
    shirt = draws.blend(CLOTHES) + draws.tint(0.03)
    trim = draws.blend(CLOTHES) + draws.tint(0.03)
    wall = torch.stack([draws.blend(WALLS) + draws.tint(0.02) for _ in range(2)], 1)
    blobs = torch.stack([draws.blend(WALLS) + draws.tint(0.03) for _ in range(BLOBS)], 1)
    names = {
        "x": (-1.2, 1.2),
        "y": (-1.0, 0.7),
        "width": (0.15, 0.55),
        "height": (0.15, 0.8),
        "power": (2.0, 8.0),
        "alpha": (0.0, 0.9),
    }
    blob = {name: torch.stack([draws.uniform(*span) for _ in range(BLOBS)], 1) for name, span in names.items()}
    value["hair_volume"] = draws.uniform(0.02, 0.14)
    value["hair_length"] = draws.coin(0.45) * draws.uniform(0.35, 0.9)
    value["beard"] = draws.coin(0.25) * draws.uniform(0.25, 0.85)
    return Scene(
        shirt.clamp(0.03, 0.95),
        trim.clamp(0.03, 0.95),
        wall.clamp(0.05, 0.95),
        blobs.clamp(0.05, 0.95),
        cast,
        value,
        blob,
    )
