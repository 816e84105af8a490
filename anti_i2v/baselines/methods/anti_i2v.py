"""Anti-I2V (CVPR 2026, arXiv 2603.24570), whose own code is not public."""

from __future__ import annotations

from anti_i2v.baselines.layers import collapsed_layers, denoiser_blocks, depth, encoder_layers
from anti_i2v.baselines.methods.base import Method
from anti_i2v.baselines.optimise import Settings
from anti_i2v.errors import UsageError
from anti_i2v.faces import FACES
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
from anti_i2v.surrogates.draw import DECODED, ERROR


def anti_i2v(surrogate: Surrogate, taps: tuple[str, ...] = ()) -> Method:
    """L_IRC + L_IRA + L_aux − L_DM, by steps in Lab (a*, b*) and in low DCT frequencies in turn.

    Published: IRC of the last three blocks to block 3; IRA on every layer of denoiser and VAE encoder, toward an unrelated picture; L_aux
    pushes CLIP and LPIPS distances up. Weights, step length, steps, timesteps, cut-off and target image were not to be had. Here: all
    weights 1, each distance in units of variance; 200 steps, the first of a quarter of epsilon; the whole schedule; the lower quarter
    of frequencies; a checkerboard; no reference video but the photo as a still clip. L_aux is LPIPS where its weights are present,
    else a distance on a face network that ships, and is left out where the autoencoder cannot show the photo.

    Args:
        surrogate: What is attacked.
        taps: Layers of the denoiser instead of every block, in the order of computation: the first is the shallow one of IRC, the
            others are the deep ones, and IRA is on all of them.

    Raises:
        UsageError: A single tap, or the first lies in a block behind another's.
    """
    if len(taps) == 1:
        raise UsageError(f"anti-i2v collapses deep layers to a shallow one, and the taps are only {taps[0]}; name two or more")
    if early := [tap for tap in taps[1:] if depth(surrogate, tap) < depth(surrogate, taps[0])]:
        raise UsageError(f"the deep tap {early[0]} is computed before the shallow {taps[0]}; name the shallow one first")
    deep, shallow = (list(taps[1:]), taps[0]) if taps else collapsed_layers(surrogate)
    anchored = [*encoder_layers(surrogate), *(taps or denoiser_blocks(surrogate))]
    parts: dict[str, Objective] = {
        "collapse": CollapseObjective(deep, shallow),
        "anchor": AnchorObjective("checker", weights=dict.fromkeys(anchored, 1.0)),
        "diffusion": DiffusionObjective(1),
    }
    parts |= {name: part for name, part in {"perceptual": _auxiliary(surrogate)}.items() if part is not None}
    objective = WeightedObjective(parts).to(surrogate.device)
    read = tuple(dict.fromkeys((*anchored, shallow, *deep, ERROR, *([DECODED] if "perceptual" in parts else []))))
    return Method(objective, read, 200, Settings(space="dual", step=1 / 4, min_sigma=0.0))


def _auxiliary(surrogate: Surrogate) -> Objective | None:
    """What pushes the repainted photo away from the photo as a network sees it; None where there is nothing to see it with."""
    if surrogate.vae.decoder is None or type(surrogate).decoded is Surrogate.decoded:
        return None
    for make in (LpipsObjective, lambda: PerceptualObjective(FACES[0])):
        try:
            return make()
        except UsageError:  # its weights are not here
            continue
    return None
