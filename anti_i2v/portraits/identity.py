"""The identity of a person: the geometry and faint detail of a face, and the natural colours that go with it.

Identity is meant to be subtle, as with real people: no person is recognised by a vivid colour, and everything a person can
change within a day (clothes, beard, hair open or tied, light, pose …) is drawn elsewhere, in `scene.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from anti_i2v.portraits.draws import SeededDraws

SKIN = torch.tensor(
    [
        [0.95, 0.80, 0.71],
        [0.90, 0.71, 0.60],
        [0.82, 0.62, 0.50],
        [0.70, 0.50, 0.38],
        [0.55, 0.38, 0.28],
        [0.40, 0.27, 0.20],
    ]
)
HAIR = torch.tensor(
    [
        [0.07, 0.06, 0.06],
        [0.16, 0.11, 0.08],
        [0.28, 0.18, 0.11],
        [0.42, 0.28, 0.17],
        [0.60, 0.46, 0.29],
        [0.52, 0.50, 0.48],
    ]
)
IRIS = torch.tensor([[0.16, 0.10, 0.07], [0.26, 0.17, 0.10], [0.33, 0.30, 0.20], [0.30, 0.38, 0.42]])
TEXTURE = 48  # the skin map is this many cells wide: finer than any face of a 256-pixel photo shows


@dataclass(frozen=True)
class Identity:
    """N people. Lengths are in half picture heights at scale 1, colours are sRGB in [0, 1], angles in radians."""

    skin: Tensor  # (N, 3)
    hair: Tensor  # (N, 3)
    iris: Tensor  # (N, 3)
    geometry: dict[str, Tensor]  # name → (N,)
    skin_map: Tensor  # (N, 1, TEXTURE, TEXTURE) darkening of the skin, about [-0.1, 0.5], over the front of the head

    def __getitem__(self, name: str) -> Tensor:
        return self.geometry[name]


def sample_identities(seeds: Sequence[int]) -> Identity:
    """Draw the people with these seeds; the same seed is always the same person."""
    draws = SeededDraws(seeds, 64)
    skin = draws.blend(SKIN) + draws.tint(0.015)
    hair = draws.blend(HAIR) * draws.uniform(0.8, 1.2)[:, None]
    iris = draws.blend(IRIS) * draws.uniform(0.8, 1.2)[:, None]
    width = draws.uniform(0.34, 0.42)
    geometry = {
        "face_width": width,
        "face_height": width * draws.uniform(1.22, 1.5),
        "jaw": draws.uniform(1.9, 2.7),  # exponent of the superellipse: 2 is round, more is square
        "taper": draws.uniform(0.02, 0.24),  # how much narrower the chin is than the brow
        "eye_distance": width * draws.uniform(0.40, 0.52),
        "eye_height": draws.uniform(-0.10, -0.02),
        "eye_width": draws.uniform(0.068, 0.092),
        "eye_open": draws.uniform(0.42, 0.66),
        "eye_tilt": draws.uniform(-0.22, 0.22),
        "brow_gap": draws.uniform(0.075, 0.125),
        "brow_thickness": draws.uniform(0.012, 0.030),
        "brow_tilt": draws.uniform(-0.25, 0.25),
        "nose_length": draws.uniform(0.10, 0.18),
        "nose_width": draws.uniform(0.035, 0.065),
        "mouth_height": draws.uniform(0.22, 0.28),
        "mouth_width": draws.uniform(0.10, 0.16),
        "lip": draws.uniform(0.016, 0.038),
        "hairline": draws.uniform(0.22, 0.36),
        "widow": draws.uniform(-0.5, 0.9),  # curvature of the hairline
        "ear": draws.uniform(0.06, 0.095),
        "blush": draws.uniform(0.0, 0.10),
        "lip_red": draws.uniform(0.62, 0.82),
    }
    detail = {name: draws.unit() for name in ("freckles", "moles", "forehead", "folds")}
    return Identity(skin.clamp(0.12, 0.97), hair.clamp(0.03, 0.75), iris, geometry, _skin_map(seeds, detail))


def _skin_map(seeds: Sequence[int], detail: dict[str, Tensor]) -> Tensor:
    """Freckles, moles, forehead lines and nose-to-mouth folds, as darkening over the front of the head."""
    noise = torch.stack([torch.rand(2, TEXTURE, TEXTURE, generator=torch.Generator().manual_seed(int(s) + 1)) for s in seeds])
    v, u = torch.meshgrid(torch.linspace(-1, 1, TEXTURE), torch.linspace(-1, 1, TEXTURE), indexing="ij")
    shape = (-1, 1, 1)
    cheeks = torch.exp(-(((v - 0.15) / 0.35) ** 2)) * torch.exp(-((u / 0.55) ** 4))
    freckled = (detail["freckles"] - 0.6).clamp(min=0).view(shape) * 2.5  # four people in ten have some
    freckles = (noise[:, 0] > 1 - 0.22 * freckled * cheeks).float() * 0.9
    moles = (noise[:, 1] > 1 - 0.004 * detail["moles"].view(shape)).float() * 1.6
    spots = F.avg_pool2d(F.pad((freckles + moles)[:, None], (1, 1, 1, 1)), 3, 1)[:, 0] * 1.6
    lines = torch.sin(v * 44).clamp(min=0) ** 4 * torch.exp(-(((v + 0.62) / 0.13) ** 2)) * torch.exp(-((u / 0.4) ** 4))
    fold = torch.exp(-((((u.abs() - 0.20) - 0.32 * (v - 0.25)) / 0.035) ** 2)) * torch.exp(-(((v - 0.42) / 0.17) ** 2))
    lines = lines * (detail["forehead"] - 0.4).clamp(min=0).view(shape) * 0.35
    fold = fold * (detail["folds"] - 0.3).clamp(min=0).view(shape) * 0.28
    mottle = F.interpolate(noise[:, :1, ::8, ::8], (TEXTURE, TEXTURE), mode="bicubic", align_corners=False)[:, 0] - 0.5
    return (spots * 0.35 + lines + fold + 0.10 * mottle)[:, None].clamp(-0.1, 0.5)
