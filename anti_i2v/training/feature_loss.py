"""The loss of training and of the per-photo attacks: an objective on a surrogate's features of a photo and its protected version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from anti_i2v.embedders.alignment import move_landmarks
from anti_i2v.imaging.tensors import resize
from anti_i2v.objectives import Objective
from anti_i2v.surrogates import Draw, Surrogate
from anti_i2v.surrogates.draw import ERROR, denoiser_layers


def feature_loss(
    surrogate: Surrogate,
    objective: Objective,
    clean: Tensor,
    protected: Tensor,
    text: Mapping[str, Tensor],
    draw: Draw,
    video: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The objective on the features of both versions, and of its target image where it has one, at one draw.

    In float32 whatever autocast says: reduced precision moves latents more than a residual does. Where `needs_reference` says so and
    there is no video, noise is put on a still clip of the clean photo, the same for all versions.

    Args:
        surrogate: Frozen; on the photos' device.
        objective: Its taps are among the surrogate's.
        clean: (B, 3, H, W) in [0, 1], any size.
        protected: Likewise, differentiable.
        text: From `surrogate.encode_text`, first dimension B or 1.
        draw: From `surrogate.draw`, for B photos; its reference stays where it has one and there is no video. Its landmarks, if any,
            are in pixels of `clean`.
        video: (B, T, 3, H, W) in [0, 1], clips that begin with the photos, at least as long as the surrogate's: noise is put on them.

    Returns:
        The scalar to minimise, and its named parts.

    Raises:
        UsageError: Sizes or taps do not fit.
    """
    with torch.autocast(clean.device.type, enabled=False):
        with torch.no_grad():
            photo = resize_to(surrogate, clean)
            if draw.landmarks is not None:
                draw = replace(draw, landmarks=move_landmarks(draw.landmarks, clean.shape[-2:], photo.shape[-2:]))
            if video is not None:
                draw = surrogate.with_reference(draw, resize_to(surrogate, video[:, : surrogate.num_frames]))
            elif draw.reference is None and needs_reference(surrogate, objective):
                draw = surrogate.with_reference(draw, photo)
            taps, target = objective.clean_taps, None
            features: dict[str, Tensor] = {}
            if taps != ():
                features = (surrogate if taps is None else surrogate.with_taps(taps))(photo, text, draw)
            if objective.target_image is not None:
                picture = resize_to(surrogate, objective.target_image.to(photo)[None])
                target = surrogate(picture.expand_as(photo), text, draw)
        result: tuple[Tensor, dict[str, Tensor]] = objective(features, surrogate(resize_to(surrogate, protected), text, draw), draw, target)
    return result


def needs_reference(surrogate: Surrogate, objective: Objective) -> bool:
    """Whether noise must be put on one clip for all versions: the denoiser's error is read, or its layers on a target image.

    L_IRA of Anti-I2V (arXiv 2603.24570) has one z_t for photo and target: noise on a clip of the target would be a distance that
    no change of the photo can make up for. Where a family encodes no clips, each version keeps its own.
    """
    if type(surrogate).encode_clip is Surrogate.encode_clip:
        return False
    return ERROR in surrogate.taps or (objective.target_image is not None and bool(denoiser_layers(surrogate.taps)))


def resize_to(surrogate: Surrogate, pictures: Tensor) -> Tensor:
    """Pictures (…, 3, H, W) at the surrogate's size, differentiably."""
    flat = resize(pictures.float().flatten(0, -4), surrogate.height, surrogate.width)
    return flat.reshape(*pictures.shape[:-2], *flat.shape[-2:])
