"""Anti-I2V (CVPR 2026, arXiv 2603.24570), whose own code is not public, and the variants of its ablation."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from anti_i2v.attacks.base import Method
from anti_i2v.attacks.descent import SpaceName
from anti_i2v.attacks.loop import Settings
from anti_i2v.attacks.taps import collapsed_layers, denoiser_blocks, depth, encoder_layers
from anti_i2v.embedders import OBJECTIVE_EMBEDDERS
from anti_i2v.errors import UsageError
from anti_i2v.objectives import (
    AnchorObjective,
    CollapseObjective,
    DiffusionObjective,
    LpipsObjective,
    Objective,
    PerceptualObjective,
    WeightedObjective,
)
from anti_i2v.surrogates import Surrogate

VARIANTS: Mapping[str, tuple[SpaceName, tuple[str, ...]]] = {
    "rgb": ("rgb", ("diffusion",)),
    "lab": ("lab", ("diffusion",)),
    "dual": ("dual", ("diffusion",)),
    "irc": ("dual", ("collapse", "diffusion")),
    "ira": ("dual", ("collapse", "anchor", "diffusion")),
    "full": ("dual", ("collapse", "anchor", "diffusion", "perceptual")),
}
"""Variant of the paper's ablation → its space and its parts, in the order in which they are summed; each has one thing more."""


def anti_i2v(surrogate: Surrogate, taps: tuple[str, ...] = (), variant: str = "full") -> Method:
    """L_IRC + L_IRA + L_aux − L_DM, by steps in Lab (a*, b*) and in low DCT frequencies in turn.

    Published: IRC of the last three blocks to block 3; IRA on every layer of denoiser and VAE encoder, toward an unrelated picture; L_aux
    pushes CLIP and LPIPS distances up. Loss weights, step length, steps, timesteps, cut-off and target image are not available.
    Here: all loss weights 1, each distance in units of variance; 200 steps, the first of a quarter of epsilon; the whole schedule;
    the lower quarter of frequencies; a checkerboard; no reference video but the photo as a still clip. L_aux is LPIPS where its
    network weights are present, else a distance on an identity embedder that ships, and is left out where the autoencoder cannot
    show the photo.

    Args:
        surrogate: What is attacked.
        taps: Layers of the denoiser instead of every block, in the order of computation: the first is the shallow one of IRC, the
            others are the deep ones, and IRA is on all of them.
        variant: How much of it, one of `VARIANTS`; all else is as in `full`.

    Raises:
        UsageError: A single tap, or the first lies in a block behind another's, or no such variant.
    """
    if variant not in VARIANTS:
        raise UsageError(f"no variant {variant!r}; there are {', '.join(VARIANTS)}")
    if len(taps) == 1:
        raise UsageError(f"anti-i2v collapses deep layers to a shallow one, and the taps are only {taps[0]}; name two or more")
    if early := [tap for tap in taps[1:] if depth(surrogate, tap) < depth(surrogate, taps[0])]:
        raise UsageError(f"the deep tap {early[0]} is computed before the shallow {taps[0]}; name the shallow one first")
    space, names = VARIANTS[variant]
    make: dict[str, Callable[[], Objective | None]] = {
        "collapse": lambda: CollapseObjective(list(taps[1:]), taps[0]) if taps else CollapseObjective(*collapsed_layers(surrogate)),
        "anchor": lambda: AnchorObjective("checker", weights=dict.fromkeys(_anchor_layers(surrogate, taps), 1.0)),
        "diffusion": lambda: DiffusionObjective(1),
        "perceptual": lambda: _auxiliary(surrogate),
    }
    objective = WeightedObjective({name: part for name in names if (part := make[name]()) is not None}).to(surrogate.device)
    return Method(objective, objective.needs, 200, Settings(space=space, step=1 / 4, min_sigma=0.0))


def _anchor_layers(surrogate: Surrogate, taps: tuple[str, ...]) -> list[str]:
    """The layers of encoder and denoiser that are anchored."""
    return [*encoder_layers(surrogate), *(taps or denoiser_blocks(surrogate))]


def _auxiliary(surrogate: Surrogate) -> Objective | None:
    """The objective L_aux, which pushes the decoded photo away from the photo in a feature network; None without decoder or network."""
    if surrogate.vae.decoder is None:
        return None
    for make in (LpipsObjective, lambda: PerceptualObjective(OBJECTIVE_EMBEDDERS[0])):
        try:
            return make()
        except UsageError:  # its network weights are not here
            continue
    return None
