"""From sums over photos to the figures of a layer. Each is 0, or near it, where the features carry no information."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from anti_i2v.probing.moments import Groups, Moments

RIDGE = 1e-3
"""Of the probe, relative to the mean variance: small, because in some networks a few channels hold most of the variance."""
SHRINKAGE = 0.1
"""Of the scatter within people toward the mean variance: there may be fewer photos than dimensions."""


def probe_r2(fit: Moments, test: Moments) -> float:
    """How well a linear probe, fitted to some people, finds the subject in photos of others: share of explained variance.

    Vectors are features with the share of the place that the subject covers as the last number. Everything is taken
    relative to the mean of the place over the photos: people stand in the middle, and a layer that merely knows where a
    token lies must not count as one that knows what it shows. For two classes of tokens the probe is Fisher's linear
    discriminant (1936), and with shares p and 1 − p of them R² = J p (1 − p) / (1 + J p (1 − p)), J being his ratio,
    the squared distance of the class means in units of the scatter within classes.

    Returns:
        At most 1; 0 where features do not help, below where the probe misleads; NaN without photos or where masks do not vary.
    """
    if min(fit.photos, test.photos) < 2:
        return math.nan
    scatter, test_scatter = fit.within(), test.within()
    features, answers = scatter[:-1, :-1], scatter[:-1, -1]
    eye = torch.eye(len(features), dtype=features.dtype, device=features.device)
    weights = torch.linalg.solve(features + (RIDGE * features.trace() / len(features) + 1e-30) * eye, answers)
    variance = float(test_scatter[-1, -1])
    error = variance - 2 * float(weights @ test_scatter[:-1, -1]) + float(weights @ test_scatter[:-1, :-1] @ weights)
    return 1 - error / variance if variance > 1e-12 else math.nan


def person_share(fit: Groups, test: Groups) -> float:
    """Share of the variance between photos that is the person's and not the scene's: the intraclass correlation.

    ICC(1) = (B − W) / (B + (k − 1) W) with the mean squares between and within people and k photos of each
    (Shrout and Fleiss 1979), here traces in the space where the scatter within *other* people is round, as in a
    discriminant analysis; no person is scored in a space that was fitted to them.

    Returns:
        At most 1; 0 in the mean where the person does not matter; NaN with fewer than two people or one photo of each.
    """
    free = [fit.photos - fit.groups, test.photos - test.groups]
    if min(free) < 1 or test.groups < 2:
        return math.nan
    space = fit.within() / free[0]
    eye = torch.eye(len(space), dtype=space.dtype)
    space = (1 - SHRINKAGE) * space + (SHRINKAGE * space.trace() / len(space) + 1e-30) * eye
    between = float(torch.linalg.solve(space, test.between()).trace()) / (test.groups - 1)
    within = float(torch.linalg.solve(space, test.within()).trace()) / free[1]
    size = test.photos / test.groups
    whole = between + (size - 1) * within
    return (between - within) / whole if whole > 1e-12 else math.nan


def spectrum(scatter: Tensor) -> tuple[float, float]:
    """Of features' scatter `(D, D)`: share of variance along the first three principal axes, and effective rank.

    The effective rank is exp of the entropy of the shares of variance (Roy and Vetterli 2007): 1 for a line, D for a ball.
    """
    values = torch.linalg.eigvalsh(scatter).clamp_min(0).flip(0)
    if not float(values.sum()) > 0:
        return math.nan, math.nan
    shares = values / values.sum()
    return float(shares[:3].sum()), float(torch.exp(-torch.special.xlogy(shares, shares).sum()))


def coherence(maps: Tensor) -> Tensor:
    """How much more alike neighbouring places are than others: mean cosine of neighbours less that of all other pairs.

    Each frame's mean is taken off first. Parts of a picture that mean the same hang together, noise does not.

    Args:
        maps: `(B, C, frames, h, w)`.

    Returns:
        `(B,)`, frames averaged; NaN where a frame has no two places that are not neighbours.
    """
    height, width = maps.shape[-2:]
    deviations = maps.double() - maps.double().mean((-2, -1), keepdim=True)
    ones = deviations / deviations.norm(dim=1, keepdim=True).clamp_min(1e-12)
    near = (ones[..., 1:, :] * ones[..., :-1, :]).sum((1, 3, 4)) + (ones[..., 1:] * ones[..., :-1]).sum((1, 3, 4))
    near_pairs = (height - 1) * width + height * (width - 1)
    # |Σ u|² holds every ordered pair, each place with itself among them.
    far = (ones.sum((-2, -1)).square().sum(1) - ones.square().sum((1, 3, 4))) / 2 - near
    far_pairs = height * width * (height * width - 1) // 2 - near_pairs
    if not near_pairs or not far_pairs:
        return torch.full((len(maps),), math.nan, dtype=torch.float64)
    difference: Tensor = (near / near_pairs - far / far_pairs).mean(1)
    return difference.cpu()
