"""Projected gradient descent, photo by photo: the one loop of every per-photo method.

Madry et al. 2018 (arXiv 1706.06083), L∞. Published protections are of this kind and differ in objective, space and step length.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from tqdm import tqdm

from anti_i2v.attacks.descent import SpaceName, descent_in
from anti_i2v.budget import check_epsilon, fit_to_budget
from anti_i2v.errors import UsageError
from anti_i2v.objectives import Objective
from anti_i2v.surrogates import Surrogate
from anti_i2v.training.feature_loss import feature_loss, needs_reference, resize_to
from anti_i2v.training.transforms import Identity, Transform


@dataclass(frozen=True)
class Settings:
    """Noise levels, transform and steps of the loop.

    Attributes:
        space: Space in which the steps are made, see `anti_i2v.attacks.descent`.
        cutoff: Share of the surrogate's frequencies along each axis that `frequency` and `dual` move.
        step: Length of the first step as a share of epsilon.
        decay: Shorten the steps, see `step_length`; all are as long as the first otherwise.
        min_sigma: Draws are at least this noisy: early steps decide what a clip shows.
        max_sigma: Draws are at most this noisy.
        transform: What happens to both versions before the surrogate sees them (EOT), the same to both; nothing if not given.
    """

    space: SpaceName = "rgb"
    cutoff: float = 0.25
    step: float = 1.0
    decay: bool = True
    min_sigma: float = 0.75
    max_sigma: float = 1.0
    transform: Transform | None = None

    def length(self, number: int, epsilon: float) -> float:
        """Length of step `number` (from 0) in 1/255."""
        return step_length(number if self.decay else 0, self.step * epsilon)


def step_length(number: int, first: float) -> float:
    """Length of step `number` (from 0) in 1/255: the first over √(1 + number / 10).

    With a first step of epsilon it is long, because of an eighth, a quarter, half and all of epsilon the longest did the most damage
    after 5 and after 20 steps (4 photos of 64 × 64, epsilon 8, encoder and taps); slow decay, as for subgradients, because every step
    sees another draw. It does not depend on the number of steps, so that a run of 100 steps passes through the result of a run of 20.

    Args:
        number: Steps made before.
        first: Length of the first step in 1/255.
    """
    return first / math.sqrt(1 + number / 10)


def optimise(
    surrogate: Surrogate,
    image: Tensor,
    text: Mapping[str, Tensor],
    objective: Objective,
    epsilon: float,
    steps: int,
    generator: torch.Generator,
    settings: Settings = Settings(),
    *,
    start: Tensor | None = None,
    keep: Sequence[int] = (),
    label: str | None = None,
) -> dict[int, Tensor]:
    """Descend on an objective by signed steps, each photo on its own gradient.

    The gradient is taken at the 8-bit file that would be saved, so that rounding hides nothing. Every step sees a new draw, one noise
    level for the batch and noise of its own for each photo.

    Args:
        surrogate: Frozen; on the photos' device.
        image: (B, 3, H, W) in [0, 1], at any size; it is scaled to the surrogate's differentiably.
        text: From `surrogate.encode_text`, first dimension B or 1.
        objective: What is minimised; it must treat each photo on its own and weigh all alike.
        epsilon: Budget in 1/255.
        steps: Signed steps.
        generator: Decides start, draws and transforms; a CPU generator gives the same on every device.
        settings: Noise levels, transform and steps.
        start: (B, 3, H, W), a residual to begin from and to move around, as refinement does; random within the space if not given.
        keep: Numbers of steps whose results are returned too; 0 is the start.
        label: Names a progress bar; without it there is none.

    Returns:
        Number of steps → protected photos (B, 3, H, W) on the 8-bit grid within epsilon (see `fit_to_budget`), for
        `steps` and all of `keep`.

    Raises:
        UsageError: A number or space that cannot be, or a loss that is not finite.
    """
    numbers = _check_steps(epsilon, steps, keep)
    descent = descent_in(settings.space, surrogate.height, surrogate.width, settings.cutoff)
    image = image.detach().float()
    offset = torch.zeros_like(image) if start is None else start.detach().float()
    change = descent.start(image, epsilon, generator) if start is None else torch.zeros_like(image)
    results: dict[int, Tensor] = {}
    still = _still_clip(surrogate, image, objective)
    for number in tqdm(range(steps + 1), desc=label, disable=label is None, leave=False, mininterval=5.0):
        protected = as_file(image, offset + change, epsilon)
        if number in numbers:
            results[number] = protected
        if number == steps:
            break
        loss, gradient = _slope(surrogate, image, protected, text, objective, settings, generator, still)
        if not math.isfinite(loss):
            raise UsageError(f"the loss of step {number} is {loss}; check the photos and the surrogate for NaN")
        change = change + descent.step(image + offset + change, gradient, settings.length(number, epsilon), number)
        within = (offset + change).clamp(-epsilon / 255, epsilon / 255)
        cut = (image + within).clamp(0, 1) - image  # beyond black and white a step back would be lost
        change = descent.project(image + offset, cut - offset)
    return results


def _check_steps(epsilon: float, steps: int, keep: Sequence[int]) -> set[int]:
    """The numbers of steps whose results are returned."""
    check_epsilon(epsilon)
    numbers = {*keep, steps}
    if min(numbers) < 0 or max(numbers) > steps:
        raise UsageError(f"keep is {sorted(keep)} and steps {steps}; keep numbers from 0 to steps")
    return numbers


def _still_clip(surrogate: Surrogate, image: Tensor, objective: Objective) -> Tensor | None:
    """The latents of the still clip that noise is put on, the same for all versions and steps; None where each version has its own."""
    if not needs_reference(surrogate, objective):
        return None
    return surrogate.with_reference(surrogate.draw(len(image), torch.Generator().manual_seed(0)), resize_to(surrogate, image)).reference


def _slope(
    surrogate: Surrogate,
    image: Tensor,
    protected: Tensor,
    text: Mapping[str, Tensor],
    objective: Objective,
    settings: Settings,
    generator: torch.Generator,
    still: Tensor | None,
) -> tuple[float, Tensor]:
    """The loss of protected photos under a new draw, and its gradient in them."""
    transform = settings.transform or Identity()
    draw = replace(surrogate.draw(len(image), generator, settings.min_sigma, settings.max_sigma), reference=still)
    with torch.enable_grad():
        clean = transform(image, generator.clone_state())  # the same transform for both versions
        leaf = protected.detach().requires_grad_()
        loss, _ = feature_loss(surrogate, objective, clean, transform(leaf, generator), text, draw)
        (gradient,) = torch.autograd.grad(loss, leaf)
    return loss.item(), gradient


@torch.no_grad()
def as_file(image: Tensor, residual: Tensor, epsilon: float) -> Tensor:
    """The allowed 8-bit photo nearest to image + residual; undoes the soft bound of `fit_to_budget` in advance.

    Args:
        image: (B, C, H, W) in [0, 1].
        residual: Same shape, [0, 1] units.
        epsilon: Budget in 1/255.
    """
    if epsilon == 0:
        return image.clone()
    share = (255 / epsilon * residual).clamp(-1 + 1e-6, 1 - 1e-6)
    return fit_to_budget(image, epsilon / 255 * share.atanh(), epsilon)
