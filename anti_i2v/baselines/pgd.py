"""Projected gradient descent, photo by photo: the ceiling that a network in one forward pass is measured against.

Madry et al. 2018 (arXiv 1706.06083), L∞, on every pixel of RGB. Published protections are of this kind.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor
from tqdm import tqdm

from anti_i2v.budget import check_epsilon, fit_to_budget
from anti_i2v.errors import UsageError
from anti_i2v.images import resize
from anti_i2v.objectives import Objective
from anti_i2v.surrogates import Draw, Surrogate

Part = Literal["encoder", "taps", "both"]
"""What is attacked: what the pipeline computes from the photo (latents), the surrogate's taps, or both."""

PARTS: tuple[Part, ...] = get_args(Part)


def features(surrogate: Surrogate, image: Tensor, text: Mapping[str, Tensor], draw: Draw, part: Part) -> dict[str, Tensor]:
    """Features of photos for an objective, differentiable in the photos.

    Args:
        surrogate: Whose features.
        image: `(B, 3, H, W)` in [0, 1], any size.
        text: From `surrogate.encode_text`.
        draw: From `surrogate.draw`, for B photos; without effect on the encoder.
        part: `encoder`: every floating tensor of `surrogate.condition` by its name; `taps`; or `both`.

    Returns:
        Name → features, float32.
    """
    seen = resize(image.float(), surrogate.height, surrogate.width)
    found: dict[str, Tensor] = {}
    if part != "taps":
        with torch.autocast(seen.device.type, enabled=False):
            found |= {name: value.float() for name, value in surrogate.condition(seen).items() if value.is_floating_point()}
    if part != "encoder":
        found |= surrogate(seen, text, draw)
    return found


def step_length(number: int, epsilon: float, first: float | None = None) -> float:
    """Length of step `number` (from 0) in 1/255: the first over √(1 + number / 10).

    Long, because of an eighth, a quarter, half and all of epsilon the longest did the most damage after 5 and after 20 steps
    (4 photos of 64 × 64, epsilon 8, encoder and taps); slow decay, as for subgradients, because every step sees another draw.
    It does not ask how many steps there will be, so that a run of 100 steps passes through the result of a run of 20.

    Args:
        number: Steps made before.
        epsilon: Budget in 1/255.
        first: Length of the first step in 1/255; epsilon if not given.
    """
    return (epsilon if first is None else first) / math.sqrt(1 + number / 10)


def pgd(
    surrogate: Surrogate,
    image: Tensor,
    text: Mapping[str, Tensor],
    objective: Objective,
    epsilon: float,
    steps: int,
    generator: torch.Generator,
    *,
    part: Part = "taps",
    min_sigma: float = 0.75,
    step_size: float | None = None,
    keep: Sequence[int] = (),
    label: str | None = None,
) -> dict[int, Tensor]:
    """Descend on an objective by signed steps from a random start, each photo on its own gradient.

    The gradient is taken at the 8-bit file that would be saved, so that rounding hides nothing. Every step sees a new
    draw, one noise level for the batch and noise of its own for each photo.

    Args:
        surrogate: Frozen; on the photos' device.
        image: (B, 3, H, W) in [0, 1], at any size; it is scaled to the surrogate's differentiably.
        text: From `surrogate.encode_text`, first dimension B or 1.
        objective: What is minimised; it must treat each photo on its own and weigh all alike.
        epsilon: Budget in 1/255.
        steps: Signed steps.
        generator: Decides start and draws; a CPU generator gives the same on every device.
        part: What the objective sees, see `features`.
        min_sigma: Draws are at least this noisy: early steps decide what a clip shows.
        step_size: Length of the first step in 1/255, see `step_length`.
        keep: Numbers of steps whose results are wanted too; 0 is the random start.
        label: Names a progress bar; without it there is none.

    Returns:
        Number of steps → protected photos (B, 3, H, W) on the 8-bit grid within epsilon (see `fit_to_budget`), for
        `steps` and all of `keep`.

    Raises:
        UsageError: A number or part that cannot be, or a loss that is not finite.
    """
    wanted = _checked(epsilon, steps, keep, part)
    image = image.detach().float()
    uniform = torch.rand(image.shape, generator=generator, device=generator.device).to(image.device)
    residual = epsilon / 255 * (2 * uniform - 1)
    results: dict[int, Tensor] = {}
    for number in tqdm(range(steps + 1), desc=label, disable=label is None, leave=False, mininterval=5.0):
        protected = _as_file(image, residual, epsilon)
        if number in wanted:
            results[number] = protected
        if number == steps:
            break
        draw = surrogate.draw(len(image), generator, min_sigma)
        loss, gradient = _slope(surrogate, image, protected, text, objective, draw, part)
        if not math.isfinite(loss):
            raise UsageError(f"the loss of step {number} is {loss}; check the photos and the surrogate for NaN")
        moved = residual - step_length(number, epsilon, step_size) / 255 * gradient.sign()
        bounded = moved.clamp(-epsilon / 255, epsilon / 255)
        residual = (image + bounded).clamp(0, 1) - image  # beyond black and white a step back would be lost
    return results


def _checked(epsilon: float, steps: int, keep: Sequence[int], part: str) -> set[int]:
    """The numbers of steps whose results are wanted."""
    check_epsilon(epsilon)
    wanted = {*keep, steps}
    if min(wanted) < 0 or max(wanted) > steps:
        raise UsageError(f"keep is {sorted(keep)} and steps {steps}; keep numbers from 0 to steps")
    if part not in PARTS:
        raise UsageError(f"part is {part!r}; choose one of {', '.join(PARTS)}")
    return wanted


def _slope(
    surrogate: Surrogate, image: Tensor, protected: Tensor, text: Mapping[str, Tensor], objective: Objective, draw: Draw, part: Part
) -> tuple[float, Tensor]:
    """The loss of protected photos under a draw, and its gradient in them."""
    with torch.no_grad():
        clean = features(surrogate, image, text, draw, part)
    with torch.enable_grad():
        leaf = protected.detach().requires_grad_()
        loss, _ = objective(clean, features(surrogate, leaf, text, draw, part), draw)
        (gradient,) = torch.autograd.grad(loss, leaf)
    return loss.item(), gradient


@torch.no_grad()
def _as_file(image: Tensor, residual: Tensor, epsilon: float) -> Tensor:
    """The allowed 8-bit photo nearest to image + residual; undoes the soft bound of `fit_to_budget` in advance."""
    if epsilon == 0:
        return image.clone()
    share = (255 / epsilon * residual).clamp(-1 + 1e-6, 1 - 1e-6)
    return fit_to_budget(image, epsilon / 255 * share.atanh(), epsilon)
