"""Augmentations for the identity embedders: views of portraits made worse, and pictures that show no face.

Everything is drawn for each picture by itself, with an explicit generator on the CPU.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def uniform(low: float, high: float, shape: tuple[int, ...], random: torch.Generator, like: Tensor) -> Tensor:
    """Uniform draws in [low, high)."""
    return (low + (high - low) * torch.rand(shape, generator=random)).to(like)


def smooth_noise(images: Tensor, cells: int, random: torch.Generator) -> Tensor:
    """Smooth fields (N, 3, H, W) of about unit deviation; `cells` is how many independent values lie side by side."""
    coarse = torch.randn(len(images), 3, cells, cells, generator=random).to(images)
    return F.interpolate(coarse, images.shape[-2:], mode="bicubic")


def smooth(images: Tensor) -> Tensor:
    """Only what varies over an eighth of the side or more: (N, C, S, S) → the same shape."""
    cells = max(1, images.shape[-1] // 8)
    return F.interpolate(F.adaptive_avg_pool2d(images, cells), images.shape[-2:], mode="bilinear")


def move(images: Tensor, random: torch.Generator) -> Tensor:
    """Each picture scaled by 0.85–1.15, turned by up to 8°, shifted by up to 8 % of its side: (N, C, H, W)."""
    n = len(images)
    scale = uniform(0.85, 1.15, (n,), random, images)
    angle = uniform(-8.0, 8.0, (n,), random, images) * (math.pi / 180.0)
    theta = torch.zeros(n, 2, 3).to(images)
    theta[:, 0, 0] = theta[:, 1, 1] = scale * angle.cos()
    theta[:, 0, 1], theta[:, 1, 0] = -scale * angle.sin(), scale * angle.sin()
    theta[:, :, 2] = uniform(-0.16, 0.16, (n, 2), random, images)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def soften(images: Tensor, random: torch.Generator) -> Tensor:
    """Half of the pictures made smaller by a factor of 0.35–1 and enlarged again, as small video models blur: (N, C, H, W)."""
    out, size = images.clone(), images.shape[-1]
    which = torch.randint(8, (len(images),), generator=random)
    for group in range(4):  # of eight: the others stay sharp
        rows = which == group
        if bool(rows.any()):
            small = max(4, round(size * float(uniform(0.35, 1.0, (), random, images))))
            less = F.interpolate(images[rows], (small, small), mode="bilinear", antialias=True)
            out[rows] = F.interpolate(less, images.shape[-2:], mode="bicubic")
    return out


def cut_out(images: Tensor, random: torch.Generator, share: float = 0.3) -> Tensor:
    """A rectangle of one colour over `share` of the pictures, sides 10–40 % of theirs: (N, 3, H, W)."""
    n, height, width = len(images), images.shape[-2], images.shape[-1]
    centre, side = uniform(0, 1, (n, 2), random, images), uniform(0.1, 0.4, (n, 2), random, images)
    side = side * (uniform(0, 1, (n, 1), random, images) < share)
    colour = uniform(0, 1, (n, 3, 1, 1), random, images)
    y = (torch.linspace(0, 1, height).to(images) - centre[:, :1]).abs() < side[:, :1] / 2
    x = (torch.linspace(0, 1, width).to(images) - centre[:, 1:]).abs() < side[:, 1:] / 2
    return torch.where((y[:, :, None] & x[:, None, :])[:, None], colour, images)


def recolour(images: Tensor, random: torch.Generator) -> Tensor:
    """Other light: less colour, gamma, gains, tints, smooth blotches and white noise, clamped: (N, 3, H, W)."""
    n = len(images)

    def strength(high: float) -> Tensor:
        return uniform(0.0, high, (n, 1, 1, 1), random, images)

    def normal(*shape: int) -> Tensor:
        return torch.randn(n, *shape, generator=random).to(images)

    grey = uniform(-1.0, 1.0, (n, 1, 1, 1), random, images).clamp(min=0)  # half of the pictures lose some of their colour
    images = torch.lerp(images, images.mean(1, keepdim=True), grey)
    gain = uniform(0.7, 1.3, (n, 1, 1, 1), random, images) * (1.0 + strength(0.15) * normal(3, 1, 1)).clamp(0.6, 1.5)
    out = images.clamp(1e-3, 1) ** uniform(-0.3, 0.3, (n, 1, 1, 1), random, images).exp() * gain
    cells = int(torch.randint(2, 9, (), generator=random))
    out = out + strength(0.04) * normal(3, 1, 1) + strength(0.06) * smooth_noise(images, cells, random)
    return (out + strength(0.06) * normal(*images.shape[1:])).clamp(0, 1)


def worsen(images: Tensor, random: torch.Generator) -> Tensor:
    """All of the above, each picture differently: (N, 3, H, W) in [0, 1] → the same shape and range."""
    return recolour(cut_out(soften(move(images, random), random), random), random)


def shuffle(images: Tensor, random: torch.Generator, cells: int = 8) -> Tensor:
    """Each picture cut into cells × cells patches in another order: (N, C, S, S), S a multiple of `cells`."""
    n, channels, size, _ = images.shape
    side = size // cells
    patches = F.unfold(images, side, stride=side)
    order = torch.rand(n, 1, patches.shape[2], generator=random).argsort(2).to(images.device)
    mixed = patches.gather(2, order.expand_as(patches))
    return F.fold(mixed, (size, size), side, stride=side).view(n, channels, size, size)


def faceless(images: Tensor, face: Tensor, random: torch.Generator) -> Tensor:
    """Pictures without a face, made of portraits in five ways in turn.

    Heads with the face covered, enlarged pieces beside the face (with the face covered where there is none), shuffled patches,
    smooth fields of colour, and noise.

    Args:
        images: (N, 3, S, S) in [0, 1].
        face: (N, 1, S, S) in [0, 1], where the face is.
        random: Source of all draws.

    Returns:
        (N, 3, S, S) in [0, 1].
    """
    around = F.max_pool2d(face, 5, 1, 2)
    skin = (images * face).sum((2, 3), keepdim=True) / face.sum((2, 3), keepdim=True).clamp(min=1.0)
    covered = torch.lerp(images, (skin + 0.05 * smooth_noise(images, 3, random)).clamp(0, 1), around)
    colour = uniform(0, 1, (len(images), 3, 1, 1), random, images)
    contrast = uniform(0, 0.3, (len(images), 1, 1, 1), random, images)
    ways = (
        covered,
        beside(images, face, covered, random),
        shuffle(images, random),
        colour + contrast * smooth_noise(images, 4, random),
        colour + contrast * torch.randn(images.shape, generator=random).to(images),
    )
    row = torch.arange(len(images))
    return torch.stack(ways)[row % len(ways), row].clamp(0, 1)


def beside(images: Tensor, face: Tensor, otherwise: Tensor, random: torch.Generator, tries: int = 6) -> Tensor:
    """Of `tries` random pieces of each picture the one with least face, enlarged; `otherwise` where all show some."""
    n = len(images)
    both, best = torch.cat([images, face], 1), torch.full((n,), 0.005).to(images)
    out = otherwise
    for _ in range(tries):
        scale = uniform(0.25, 0.6, (n,), random, images)
        theta = torch.zeros(n, 2, 3).to(images)
        theta[:, 0, 0] = theta[:, 1, 1] = scale
        theta[:, :, 2] = uniform(-1, 1, (n, 2), random, images) * (1.0 - scale)[:, None]
        piece = F.grid_sample(both, F.affine_grid(theta, list(both.shape), align_corners=False), align_corners=False)
        visible = piece[:, 3].mean((1, 2))
        out, best = torch.where((visible < best)[:, None, None, None], piece[:, :3], out), torch.minimum(best, visible)
    return out
