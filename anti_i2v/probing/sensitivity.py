"""How much a small change of the photo changes a layer, and the output of the denoiser."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from anti_i2v.probing.grid import as_map, split
from anti_i2v.surrogates import Draw
from anti_i2v.surrogates.pipeline import PipelineSurrogate

STRENGTH = 2 / 255
"""Of both changes: the noise's standard deviation, and what the attack adds to or takes from every pixel."""

Maps = dict[str, Tensor]


def maps_and_answer(surrogate: PipelineSurrogate, image: Tensor, text: Mapping[str, Tensor], draw: Draw) -> tuple[Maps, Tensor]:
    """Maps `(B, C, frames, h, w)` of every tap, and the denoiser's whole answer, first dimension B."""
    answers: list[Tensor] = []

    def keep(module: object, args: object, output: tuple[Tensor, ...]) -> None:
        answers.append(output[0].float())

    handle = surrogate.denoiser_at(draw.timestep).register_forward_hook(keep)
    try:
        features = surrogate(image, text, draw, early_exit=False)
    finally:
        handle.remove()
    size = (draw.frames, surrogate.height, surrogate.width)
    return {tap: as_map(value, *size, tap) for tap, value in features.items()}, torch.cat(answers)  # a family may go photo by photo


def relative(other: Tensor, clean: Tensor) -> Tensor:
    """Norm of the change by the norm of what was changed: `(B, …)` → `(B,)`."""
    ratio: Tensor = (other - clean).flatten(1).norm(dim=1) / clean.flatten(1).norm(dim=1).clamp_min(1e-12)
    return ratio


def attack_step(image: Tensor, gradient: Tensor) -> Tensor:
    """One signed step up the gradient (Goodfellow et al. 2015, FGSM), in [0, 1]."""
    return (image + STRENGTH * gradient.sign()).clamp(0, 1)


def gains(
    surrogate: PipelineSurrogate, image: Tensor, text: Mapping[str, Tensor], draw: Draw, generator: torch.Generator
) -> dict[str, dict[str, Tensor]]:
    """Relative change of every layer by the relative change of the photo, for noise and for an attack on that very layer.

    The attack is one signed step of `STRENGTH`, up the gradient of the layer's squared relative change, first and later
    latent frames counted alike. At the photo itself that gradient is zero, so it is taken half a step away, in a random
    direction of signs.

    Args:
        surrogate: With the layers as its taps.
        image: `(B, 3, H, W)` in [0, 1].
        text: From its `encode_text`.
        draw: For B photos; the same for all versions.
        generator: Of the noise and the random direction.

    Returns:
        Tap → `noise_first`, `attack_first`, … (see `PARTS`), and the change of the denoiser's output: `noise_answer`, the same for all,
        and `attack_answer`; each `(B,)`.
    """
    draws = [torch.randn(image.shape, generator=generator).to(image) for _ in range(2)]
    with torch.no_grad():
        clean, answer = maps_and_answer(surrogate, image, text, draw)
        noisy = (image + STRENGTH * draws[0]).clamp(0, 1)
        maps, noise_answer = maps_and_answer(surrogate, noisy, text, draw)
    result = {tap: _changes("noise", maps[tap], clean[tap]) | {"noise_answer": relative(noise_answer, answer)} for tap in clean}
    result = {tap: _by(values, relative(noisy, image)) for tap, values in result.items()}
    del maps
    leaf = (image + STRENGTH / 2 * draws[1].sign()).clamp(0, 1).requires_grad_()
    size = (draw.frames, surrogate.height, surrogate.width)
    with torch.enable_grad():
        features = {tap: as_map(value, *size, tap) for tap, value in surrogate(leaf, text, draw).items()}
    for number, tap in enumerate(clean):
        with torch.enable_grad():
            parts = zip(split(features.pop(tap)).values(), split(clean[tap]).values(), strict=True)
            loss = torch.stack([relative(one, other).square().sum() for one, other in parts]).sum()
        (gradient,) = torch.autograd.grad(loss, leaf, retain_graph=number < len(clean) - 1)
        attack = attack_step(image, gradient)
        with torch.no_grad():
            maps, attack_answer = maps_and_answer(surrogate.with_taps([tap]), attack, text, draw)
        values = _changes("attack", maps[tap], clean[tap]) | {"attack_answer": relative(attack_answer, answer)}
        result[tap] |= _by(values, relative(attack, image))
    return result


def _changes(name: str, other: Tensor, clean: Tensor) -> dict[str, Tensor]:
    return {f"{name}_{part}": relative(value, split(clean)[part]) for part, value in split(other).items()}


def _by(values: Mapping[str, Tensor], pixels: Tensor) -> dict[str, Tensor]:
    return {name: (value / pixels.clamp_min(1e-12)).cpu() for name, value in values.items()}
