"""Whether two photos show the same person, by a judge that reads real faces: the control of validity for real portraits."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from anti_i2v.embedders import Embedder, load_embedder, refuse_shared
from anti_i2v.embedders.alignment import move_landmarks


def load_face_judge(judge: str | Path = "dlib", objectives: Iterable[str | Path] = ()) -> Embedder:
    """A judge of real faces, frozen; never one that the generator was trained against.

    Args:
        judge: `dlib`, or a folder; see `load_embedder`.
        objectives: The objective embedders of the generator, from its card (`embedders` of its `config.json`).

    Raises:
        UsageError: The judge is one of them; or see `load_embedder`.
    """
    refuse_shared(judge, objectives)
    return load_embedder(judge, "judge")


@torch.no_grad()
def face_similarity(
    judge: Embedder, pictures: Tensor, others: Tensor, landmarks: Tensor | None = None, other_landmarks: Tensor | None = None
) -> Tensor:
    """How alike the people of pairs of pictures are.

    Args:
        judge: The embedder.
        pictures: (B, 3, H, W) in [0, 1].
        others: (B, 3, H′, W′) in [0, 1], for example the protected or the animated versions.
        landmarks: (B, 5, 2) y, x in pixels of `pictures`; needed by judges of aligned faces, such as dlib's.
        other_landmarks: The same of `others`; without them those of `pictures`, scaled to the other size.

    Returns:
        (B,) cosines in [-1, 1]: 1 is the same picture, strangers are around 0, lower is more protection. NaN where a picture has no face.

    Raises:
        UsageError: The judge needs landmarks and there are none.
    """
    if other_landmarks is None and landmarks is not None:
        other_landmarks = move_landmarks(landmarks, pictures.shape[-2:], others.shape[-2:])
    both, faces = [], torch.ones(len(pictures), dtype=torch.bool, device=pictures.device)
    for images, points in ((pictures, landmarks), (others, other_landmarks)):
        crop, found = judge.crop(images.float(), points)
        both.append(judge.embed(crop)[0])
        faces = faces & found
    cosine = (both[0] * both[1]).sum(1)
    return torch.where(faces, cosine, torch.full_like(cosine, torch.nan))
