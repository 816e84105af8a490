"""Measures: how far a video, or the features that make it, moved away from what the clean photo gives."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.evaluation.motion import dynamic_degree
from anti_i2v.imaging.metrics import psnr, rms255
from anti_i2v.surrogates import Surrogate
from anti_i2v.surrogates.draw import PHOTO

MEASURES = {
    "first_frame_change": "first frame change, RMSE in 1/255",
    "clip_change": "clip change, RMSE in 1/255",
    "last_frame_change": "last frame change, RMSE in 1/255",
    "flicker_change": "change of flicker in 1/255",
    "feature_damage": "feature damage",
    "photo_psnr": "first frame to the clean photo, PSNR in dB",
    "ssim": "SSIM to the clean photo's clip",
    "dynamic_degree": "motion, % of a side per frame",
}
"""Name of each measure of `clip_changes`, `mean_damage` and `fidelity` → what it is and its unit."""


VERSIONS = {
    "clean": "clean photo",
    "protected": "protected",
    "white_noise": "white noise, equal RMS",
    "random_parameters": "random parameters, equal RMS",
    "other_seed": "clean photo, other seed",
}
"""Name of each version that is animated → how tables call it."""


def clip_changes(clip: Tensor, clean: Tensor) -> dict[str, Tensor]:
    """How far a clip is from the clip of the clean photo, made from the same noise.

    Args:
        clip: (B, T, 3, H, W) in [0, 1].
        clean: Same shape.

    Returns:
        (B,) each. `first_frame_change`, `clip_change` and `last_frame_change` are distances from 0 up in 1/255: more is a
        larger change, for better or worse. `flicker_change` in 1/255 is positive if `clip` flickers more.
    """
    away = clip - clean
    return {
        "first_frame_change": rms255(away[:, 0]),
        "clip_change": rms255(away),
        "last_frame_change": rms255(away[:, -1]),
        "flicker_change": flicker(clip) - flicker(clean),
    }


def fidelity(clip: Tensor, clean: Tensor, photo: Tensor) -> dict[str, Tensor]:
    """How faithful a clip is, and how much happens in it.

    Args:
        clip: (B, T, 3, H, W) in [0, 1], pictures of at least 6 × 6.
        clean: Same shape, the clean photo's clip from the same noise.
        photo: (B, 3, H, W) in [0, 1], the clean photo at the clip's size.

    Returns:
        (B,) each. `photo_psnr`: the first frame against the clean photo, in dB from 0 up, lower is more protection. `ssim`:
        the mean over frames against the clean clip (Wang et al. 2004), from -1 to 1, 1 is equal, lower is more protection.
        `dynamic_degree`: see there.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    frames, truth = (video.float().flatten(0, 1) for video in (clip, clean))
    similar = structural_similarity_index_measure(frames, truth, reduction="none", data_range=1.0)
    assert isinstance(similar, Tensor)
    return {
        "photo_psnr": psnr(clip[:, 0], photo),
        "ssim": similar.view(clip.shape[:2]).mean(1),
        "dynamic_degree": dynamic_degree(clip),
    }


def check_finite(version: str, **values: Tensor) -> None:
    """Refuse what cannot be measured: a mean over people must not hide that one of them became NaN.

    Raises:
        UsageError: One of the values, named by its keyword, holds NaN or infinite values; the version is named too.
    """
    for what, value in values.items():
        if not bool(value.isfinite().all()):
            where = int((~value.isfinite().flatten(1).all(1)).sum())
            raise UsageError(
                f"{what} of {where} of {len(value)} photos, version {VERSIONS.get(version, version)!r}, hold NaN or infinite values; "
                "check the photos and the weights of generator and surrogate"
            )


def flicker(video: Tensor) -> Tensor:
    """Mean absolute change from frame to frame: (B, T, 3, H, W) in [0, 1] → (B,) in 1/255; 0 for a single frame."""
    if video.shape[1] < 2:
        return video.new_zeros(len(video))
    return 255 * video.diff(dim=1).abs().flatten(1).mean(1)


def feature_damage(clean: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> Tensor:
    """Mean over taps of MSE(other, clean) / Var(clean), one value a photo.

    1 means that the features moved by as much as they vary within the clean photo.

    Args:
        clean: Tap → (B, …) features.
        other: The same taps and shapes.

    Returns:
        (B,) float32.
    """
    parts = []
    for tap, value in clean.items():
        a, b = value.float().flatten(1), other[tap].float().flatten(1)
        parts.append((b - a).square().mean(1) / a.var(1, unbiased=False).clamp_min(1e-12))
    return torch.stack(parts).mean(0)


@torch.no_grad()
def mean_damage(surrogate: Surrogate, clean: Tensor, other: Tensor, text: Mapping[str, Tensor], seed: int, draws: int = 4) -> Tensor:
    """Feature damage averaged over draws from the surrogate's whole schedule.

    Args:
        surrogate: Whose taps are read.
        clean: (B, 3, height, width) in [0, 1], the surrogate's size.
        other: Same shape.
        text: From `surrogate.encode_text`.
        seed: Decides the draws.
        draws: How many.

    Returns:
        (B,) float32.
    """
    surrogate = surrogate.with_taps([tap for tap in surrogate.taps if tap != PHOTO])  # a changed photo is no damage of features
    random = torch.Generator().manual_seed(seed)
    total = torch.zeros(len(clean), device=clean.device)
    for _ in range(draws):
        draw = surrogate.draw(len(clean), random)
        total += feature_damage(surrogate(clean, text, draw), surrogate(other, text, draw))
    return total / draws
