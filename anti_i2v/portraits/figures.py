"""Whole people from head to shoes, each drawn only on the pixels around them and as finely as their size asks for.

A person is drawn before what stands behind them in the photo, so that soft edges mix with the right colours, and comes back as
premultiplied colour and coverage: laid over the photo they leave no seam, also where another person stands between.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from anti_i2v.portraits.actions import perform
from anti_i2v.portraits.canvas import cover, ellipse, paint
from anti_i2v.portraits.identity import Identity, sample_identities
from anti_i2v.portraits.render import render
from anti_i2v.portraits.scene import Scene

FINEST = 256
"""Pixels of a face, from twice as many of which it is drawn at half the size, or a third, …, and scaled up."""
PIXELS = 2**21  # drawn at once
SOLES = 6.25  # lengths in units of the renderer, half picture heights at scale 1, below the chin

T = TypeVar("T", Identity, Scene)


@dataclass(frozen=True)
class Placement:
    """Where a person stands.

    Attributes:
        unit: Pixels of a unit of the renderer.
        y: Centre of the head in pixels from the upper edge of the photo.
        x: The same from the left edge.
    """

    unit: float
    y: float
    x: float


@dataclass(frozen=True)
class Patch:
    """A person on the pixels (top : top + h, left : left + w) of a photo.

    Attributes:
        top: Of the photo.
        left: Of the photo.
        colour: (3, h, w) in [0, 1], times the coverage.
        cover: (h, w) coverage by the person, in [0, 1].
        face: (h, w) coverage by the face, in [0, 1].
    """

    top: int
    left: int
    colour: Tensor
    cover: Tensor
    face: Tensor


class People:
    """People in their scenes, and how large their parts are.

    Args:
        identities: Numbers of the people, see `PortraitClips`.
        scene: As many scenes; light and colour cast are those of the scene before each person, the picture's walls are not used.
    """

    def __init__(self, identities: Sequence[int], scene: Scene) -> None:
        self.identity, self.scene = sample_identities(identities), scene
        who, what = self.identity.geometry, scene.value
        tall = who["face_height"]
        hairline = what["pitch"] - (1.12 * tall - 1.05 * who["hairline"]) / (0.82 * tall)  # where the fringe ends, as `head` draws it
        above = torch.where(hairline < -math.pi / 2, -tall, tall * torch.sin(hairline))
        self.face: list[float] = (tall - above).tolist()
        """Height of each face, in units."""
        self.face_centre: list[float] = ((tall + above) / 2).tolist()
        """Its centre below that of the head, in units."""
        self.chin: list[float] = tall.tolist()
        """The chin below the centre of the head, in units."""
        self.hair: list[float] = (1.2 * what["hair_length"]).tolist()
        """How far hair reaches below the centre of the head, in units."""

    def draw(
        self, placements: Sequence[Placement], backgrounds: Sequence[Tensor], photo: Sequence[int], finest: int = FINEST
    ) -> list[Patch]:
        """Draw everybody.

        Args:
            placements: Where each stands.
            backgrounds: (3, H, W) in [0, 1] each.
            photo: For each person the number of the background that they stand before.
            finest: See `FINEST`.
        """
        frames = [_Frame.around(place, chin, backgrounds[i], finest) for place, chin, i in zip(placements, self.chin, photo, strict=True)]
        alike: dict[tuple[int, int], list[int]] = {}
        for i, frame in enumerate(frames):
            alike.setdefault((frame.rows, frame.columns), []).append(i)
        patches: dict[int, Patch] = {}
        for (rows, columns), members in alike.items():
            count = max(1, PIXELS // (rows * columns))
            for first in range(0, len(members), count):
                some = members[first : first + count]
                patches |= dict(zip(some, self._draw_alike(some, [frames[i] for i in some]), strict=True))
        return [patches[i] for i in range(len(placements))]

    def _draw_alike(self, rows: list[int], frames: list[_Frame]) -> list[Patch]:
        height, width = frames[0].rows, frames[0].columns
        placed = {
            "scale": [2 * f.unit / height for f in frames],
            "x": [2 * f.x / height - width / height for f in frames],
            "y": [2 * f.y / height - 1 for f in frames],
            "grain": [0.0] * len(frames),  # the sensor's noise belongs to the whole photo
        }
        scene, identity = take(self.scene, rows), take(self.identity, rows)
        scene = replace(scene, value={**scene.value, **{name: torch.tensor(value) for name, value in placed.items()}})
        gamma, cast = scene["gamma"].view(-1, 1, 1), scene.cast.T[:, :, None, None]
        behind = torch.stack([f.behind for f in frames], 1)
        image = (behind / cast).clamp(0.004, 1) ** (1 / gamma)
        behind = image.clamp(0.004, 1) ** gamma * cast  # what the renderer makes of it where nobody stands
        below = draw_below(image, identity, scene)
        motion = perform(torch.zeros(len(rows), dtype=torch.long), scene, 1)
        grain = torch.zeros(len(rows), 1, 1, height, width)
        drawn = render(identity, scene, motion, height, width, grain, grain[:, 0, :, :1, :1], image)
        covered = 1 - (1 - drawn.person_mask[:, 0, 0]) * (1 - below)
        colour = (drawn.video[:, 0] - (1 - covered[:, None]) * behind.transpose(0, 1)).clamp_(min=0)
        layers = torch.cat([colour, covered[:, None], drawn.face_mask[:, 0]], 1)
        return [frame.patch(layer) for frame, layer in zip(frames, layers, strict=True)]


def draw_below(image: Tensor, identity: Identity, scene: Scene) -> Tensor:
    """What the renderer's busts lack: trunk with arms and hands, legs, shoes; drawn into `image` (3, N, H, W).

    Returns:
        (N, H, W) coverage.
    """
    height, width = image.shape[-2:]
    plane = {name: value.view(-1, 1, 1) for name, value in {**identity.geometry, **scene.value}.items()}
    y = (((torch.arange(height) + 0.5) * (2 / height)) - 1).view(1, height, 1)
    x = ((torch.arange(width) + 0.5) * (2 / height) - width / height).view(1, 1, width)
    x, y = (x - plane["x"]) / plane["scale"], (y - plane["y"]) / plane["scale"] - plane["face_height"]
    edge = plane["softness"] * 2 / height / plane["scale"]
    if not bool((y > 0.8).any()):
        return torch.zeros_like(x + y)
    shirt, trousers, skin = (colour.T[:, :, None, None] for colour in (scene.shirt, 0.1 + 0.5 * scene.trim, identity.skin))
    shade = (1 + 0.4 * plane["light_x"] * x).clamp(0.7, 1.3)
    legs = cover(torch.maximum((x.abs() - 0.31 - 0.01 * (y - 4)).abs() - 0.27, (y - 4.2).abs() - 1.8), edge)
    paint(image, legs, trousers * shade)
    shoes = cover(ellipse(x.abs() - 0.36, y - 6.08, 0.34, 0.15), edge)
    paint(image, shoes, 0.35 * trousers + 0.03)
    hands = cover(ellipse(x.abs() - 0.80, y - 2.95, 0.11, 0.19), edge)
    paint(image, hands, skin * 0.92)
    trunk = cover(torch.maximum(x.abs() - 0.70 + 0.02 * y, (y - 1.75).abs() - 0.87), edge)
    arms = cover(torch.maximum((x.abs() - 0.77).abs() - 0.135, (y - 1.86).abs() - 0.98), edge)
    cloth = torch.maximum(trunk, arms)
    paint(image, cloth, shirt * shade)
    paint(
        image,
        cloth * plane["stripes"] * (torch.sin((y + plane["face_height"]) * plane["stripe_width"]) > 0),
        scene.trim.T[:, :, None, None],
    )
    seam = cover((x.abs() - 0.64).abs() - 0.012, edge + 0.05) * cloth * ((y - 1.1) / 0.5).clamp(0, 1)
    paint(image, seam * 0.5, shirt * 0.45)
    return torch.stack([legs, shoes, hands, cloth]).amax(0)


@dataclass(frozen=True)
class _Frame:
    """The pixels around one person, and the grid on which they are drawn: `rows` × `columns` of `factor` pixels each."""

    top: int
    left: int
    height: int
    width: int
    factor: int
    rows: int
    columns: int
    unit: float  # these three in pixels of the grid
    y: float
    x: float
    behind: Tensor  # (3, rows, columns)

    @staticmethod
    def around(place: Placement, chin: float, background: Tensor, finest: int) -> _Frame:
        height, width = background.shape[-2:]
        top, bottom = max(0, int(place.y - 0.85 * place.unit)), min(height, math.ceil(place.y + (chin + SOLES) * place.unit))
        left, right = max(0, int(place.x - 1.05 * place.unit)), min(width, math.ceil(place.x + 1.05 * place.unit))
        factor = max(1, int(place.unit * 0.85 / finest))
        rows, columns = _round_up(math.ceil((bottom - top) / factor)), _round_up(math.ceil((right - left) / factor))
        behind = background[:, top:bottom, left:right]
        padding = (0, columns * factor - (right - left), 0, rows * factor - (bottom - top))
        behind = F.avg_pool2d(F.pad(behind[None], padding, mode="replicate"), factor)[0]
        grid = (place.unit / factor, (place.y - top) / factor, (place.x - left) / factor)
        return _Frame(top, left, bottom - top, right - left, factor, rows, columns, *grid, behind)

    def patch(self, layers: Tensor) -> Patch:
        if self.factor > 1:
            layers = F.interpolate(layers[None], scale_factor=float(self.factor), mode="bilinear", align_corners=False)[0]
        layers = layers[:, : self.height, : self.width]
        return Patch(self.top, self.left, layers[:3], layers[3], layers[4])


def _round_up(length: int) -> int:
    """The next of few lengths, about a quarter apart, so that people of nearly one size are drawn together."""
    step = max(8, 1 << max(0, length.bit_length() - 3))
    return math.ceil(length / step) * step


def take(of: T, rows: list[int]) -> T:
    """Some rows of people or scenes."""
    parts: dict[str, Any] = {}
    for name in of.__dataclass_fields__:
        part = getattr(of, name)
        parts[name] = {key: value[rows] for key, value in part.items()} if isinstance(part, dict) else part[rows]
    return replace(of, **parts)
