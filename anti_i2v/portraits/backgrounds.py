"""What stands behind groups of people: rendered walls, clouds, patterns, landscapes, or a picture of the caller's."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from anti_i2v.portraits.render import draw_background
from anti_i2v.portraits.scene import Scene

FINEST = 768  # pixels of the shorter side up to which backgrounds are drawn; larger ones are scaled up and get their grain later


def draw_behind(scene: Scene, height: int, width: int, random: torch.Generator, picture: Tensor | None = None) -> Tensor:
    """The background of one photo.

    Args:
        scene: One scene, whose wall, objects, light and colour cast are used.
        height: H in pixels.
        width: W in pixels.
        random: Chooses the kind and draws it.
        picture: (3, h, w) in [0, 1]: a random part of it, as large as fits, is the background.

    Returns:
        (3, H, W) in [0, 1].
    """
    if picture is not None:
        return _part(picture, height, width, random)
    factor = min(1.0, FINEST / min(height, width))
    h, w = max(8, round(height * factor)), max(8, round(width * factor))
    kind = int(torch.randint(len(KINDS), (1,), generator=random))
    image = KINDS[kind](scene, h, w, random)
    image = image.clamp(0.004, 1) ** scene["gamma"] * scene.cast[0][:, None, None]
    if (h, w) != (height, width):
        image = F.interpolate(image[None], (height, width), mode="bicubic", align_corners=False)[0]
    return image.clamp_(0, 1)


def _part(picture: Tensor, height: int, width: int, random: torch.Generator) -> Tensor:
    h, w = picture.shape[-2:]
    share = min(h / height, w / width)
    tall, wide = max(1, int(height * share)), max(1, int(width * share))
    y, x, flip = torch.rand(3, generator=random).tolist()
    top, left = int(y * (h - tall + 1)), int(x * (w - wide + 1))
    part = picture[None, :, top : top + tall, left : left + wide]
    part = part.flip(-1) if flip < 0.5 else part
    smaller = share > 1
    mode = "bilinear" if smaller else "bicubic"
    return F.interpolate(part.float(), (height, width), mode=mode, align_corners=False, antialias=smaller)[0].clamp_(0, 1)


def _wall(scene: Scene, height: int, width: int, random: torch.Generator) -> Tensor:
    y = (((torch.arange(height) + 0.5) * (2 / height)) - 1).view(1, height, 1)
    x = ((torch.arange(width) + 0.5) * (2 / height) - width / height).view(1, 1, width)
    return draw_background(x, y, scene, torch.randn(1, 1, 12, 12, generator=random))[:, 0]


def fractal(height: int, width: int, roughness: float, random: torch.Generator) -> Tensor:
    """(H, W) noise of about zero mean and unit deviation; each octave is `roughness` times as strong as the coarser one."""
    total, strength, energy = torch.zeros(height, width), 1.0, 0.0
    cells = 3
    while cells <= max(8, min(height, width) // 2):
        size = (1, 1, cells, max(2, round(cells * width / height)))
        layer = F.interpolate(torch.randn(size, generator=random), (height, width), mode="bicubic", align_corners=False)
        total += strength * layer[0, 0]
        energy += strength**2 * 0.6
        cells, strength = cells * 2, strength * roughness
    return total / math.sqrt(energy)


def _clouds(scene: Scene, height: int, width: int, random: torch.Generator) -> Tensor:
    """Foliage, plaster, stone: noise of all scales between the two colours of the wall."""
    roughness, contrast = (torch.rand(2, generator=random) * torch.tensor([0.45, 0.2]) + torch.tensor([0.45, 0.06])).tolist()
    mix = torch.sigmoid(1.5 * fractal(height, width, roughness, random))
    colour = torch.lerp(scene.wall[0, 0][:, None, None], scene.wall[0, 1][:, None, None], mix)
    relief: Tensor = (1 + contrast * fractal(height, width, roughness, random)).clamp(0.3, 1.6)
    return colour * relief


def _pattern(scene: Scene, height: int, width: int, random: torch.Generator) -> Tensor:
    """Tiles, bricks, planks or curtains: a turned grid of joints, each piece a little different."""
    rows, columns, shift, turn, joint = torch.rand(5, generator=random).tolist()
    y = torch.linspace(-1, 1, height)[:, None]
    x = torch.linspace(-width / height, width / height, width)[None]
    angle = (turn - 0.5) * 0.5
    u, v = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    v = v * (1 + 12 * rows)
    u = u * (1 + 12 * columns) + (v.floor() % 2) * 0.5 * (shift > 0.5)
    piece = (u.floor() * 127.1 + v.floor() * 311.7).sin() * 0.5
    mix = (0.5 + piece + 0.1 * fractal(height, width, 0.7, random)).clamp(0, 1)
    image = torch.lerp(scene.wall[0, 0][:, None, None], scene.wall[0, 1][:, None, None], mix)
    edge = torch.minimum((u - u.round()).abs(), (v - v.round()).abs())
    shadow: Tensor = 1 - (0.2 + 0.5 * joint) * torch.exp(-((edge / 0.04) ** 2))
    return image * shadow


def _landscape(scene: Scene, height: int, width: int, random: torch.Generator) -> Tensor:
    """Sky over hills over a ground that is coarser the nearer it is."""
    horizon, dark, green = torch.rand(3, generator=random).tolist()
    y = torch.linspace(0, 1, height)[:, None].expand(height, width)
    hills = F.interpolate(fractal(16, 16, 0.5, random)[None, None, 8:9], (1, width), mode="bicubic", align_corners=False)[0, 0]
    line = 0.3 + 0.35 * horizon + 0.04 * hills
    sky = torch.lerp(torch.tensor([0.42, 0.58, 0.80]), torch.tensor([0.86, 0.88, 0.88]), 0.3 * dark)[:, None, None]
    sky = torch.lerp(sky, torch.tensor([0.92, 0.90, 0.86])[:, None, None], (y / line).clamp(0, 1) ** 2 * 0.8)
    sky = sky + 0.06 * fractal(height, width, 0.5, random).clamp(min=0)
    soil = torch.lerp(scene.wall[0, 0], torch.tensor([0.33, 0.42, 0.22]), green)[:, None, None]
    ground = soil * (0.75 - 0.25 * dark + 0.16 * fractal(height, width, 0.85, random)).clamp(0.2, 1.3)
    nearer: Tensor = ((y - line) * height / 1.5).clamp(0, 1)
    return torch.lerp(sky, ground, nearer)


KINDS = (_wall, _clouds, _pattern, _landscape)
"""Each: one scene, height, width, random → (3, H, W), before light and colour cast."""
