"""Noise of equal strength: the null hypothesis.

An effect that white noise or random parameters have as well is no effect of the training.

Strength is the RMS of the residual, photo by photo, after budget and rounding: at equal epsilon a learned residual and
noise differ in energy, and energy alone moves a video.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from anti_i2v.budget import fit_to_budget, per_photo
from anti_i2v.imaging.metrics import rms255
from anti_i2v.inference.batches import lay, photo_of, public_keys
from anti_i2v.protector import Protector


def white_noise(image: Tensor, rms: Tensor, epsilon: float, generator: torch.Generator) -> Tensor:
    """Gaussian noise, independent at every value, within the budget.

    Args:
        image: (B, 3, H, W) in [0, 1].
        rms: (B,) wanted RMS of each residual in 1/255.
        epsilon: Budget in 1/255.
        generator: Draws the noise.

    Returns:
        (B, 3, H, W) on the 8-bit grid. An RMS that the budget does not allow ends at the nearest one that it does.
    """
    noise = torch.randn(image.shape, generator=generator, device=generator.device).to(image.device) / 255
    return _with_rms(lambda scale: fit_to_budget(image, scale.view(-1, 1, 1, 1) * noise, epsilon), image, rms)


@torch.no_grad()
def random_residual(protector: Protector, image: Tensor, rms: Tensor, epsilon: float, generator: torch.Generator) -> Tensor:
    """A residual from the same perturbation spaces, in the same windows, with random parameters: what the spaces do without learning.

    Each head's parameters are Gaussian with the spread that the generator gave them, so that the spaces share the
    energy in the same way.

    Args:
        protector: The learned protector whose spaces are used.
        image: (B, 3, H, W) in [0, 1].
        rms: (B,) wanted RMS of each residual in 1/255.
        epsilon: Budget in 1/255.
        generator: Draws the parameters.

    Returns:
        (B, 3, H, W) on the 8-bit grid; see `white_noise`.
    """
    budget, windows = per_photo(epsilon, image), protector.find(image)
    if not any(windows):
        return image
    random = {}
    for name, value in protector.propose(image, windows, budget, public_keys(image)).items():
        noise = torch.randn(value.shape, generator=generator, device=generator.device).to(value)
        random[name] = noise * value.flatten(1).std(1).view(-1, 1, 1, 1)

    def add(scale: Tensor) -> Tensor:
        by_window = scale[photo_of(windows, image.device)].view(-1, 1, 1, 1)
        scaled = {name: by_window * value for name, value in random.items()}
        return fit_to_budget(image, lay(image, windows, scaled, budget), budget)

    return _with_rms(add, image, rms)


@torch.no_grad()
def _with_rms(add: Callable[[Tensor], Tensor], image: Tensor, rms: Tensor) -> Tensor:
    """Find each photo's scale by bisection: the RMS of a bounded, rounded residual grows with the scale but not linearly."""
    low, high = torch.full_like(rms, -10.0), torch.full_like(rms, 10.0)  # of log2(scale)
    for _ in range(22):  # 20 / 2^22 of a doubling: finer than one rounded value
        middle = (low + high) / 2
        small = rms255(add(middle.exp2()) - image) < rms
        low, high = torch.where(small, middle, low), torch.where(small, high, middle)
    return add(high.exp2())
