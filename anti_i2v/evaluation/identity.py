"""The identity judge: a small network that recognises people across clothes, light, pose, grain and background.

No generator is ever trained against it, and it was itself trained under attack. That does not make it robust: a residual of 8/255
computed against the judge itself still misleads it (`benchmarks/judge.py`), so never optimise what it is to judge against it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from anti_i2v.embedders import Embedder, load_embedder
from anti_i2v.errors import UsageError

FACE = 0.5
"""Presence from which a frame counts as showing a face."""


def load_identity_judge(folder: str | Path = "portrait-judge") -> Embedder:
    """The judge of a folder, or of the name of a shipped one, frozen; see `load_embedder` for what it raises."""
    return load_embedder(folder, "judge")


@dataclass(frozen=True)
class References:
    """Reference embeddings of N people: `people` are their indices in the split, `embeddings` is (N, dim), unit norm."""

    people: list[int]
    embeddings: Tensor


def reference(judge: Embedder, person: int, video: Tensor) -> Tensor:
    """The normalised mean embedding (dim,) of the frames of one person's clips (B, T, 3, H, W) that show a face.

    Raises:
        UsageError: No frame shows a face.
    """
    with torch.no_grad():
        embedding, presence = judge.embed_frames(video)
    with_face = presence >= FACE
    if not bool(with_face.any()):
        best = float(presence.max())
        raise UsageError(f"no reference of person {person} shows a face (presence at most {best:.2f}, {FACE} is needed); leave it out")
    return F.normalize(embedding[with_face].mean(0), dim=0)


def embed_references(judge: Embedder, people: Sequence[int], clips: Iterable[Tensor]) -> References:
    """The references of people from clips of each.

    Args:
        judge: The embedder.
        people: Numbers that messages and the result call them by.
        clips: For each person (scenes, T, 3, H, W) in [0, 1].

    Raises:
        UsageError: There are fewer than two people, or no clip of a person shows a face.
    """
    from tqdm import tqdm

    if len(people) < 2:
        raise UsageError(f"a photo set with one person only ({len(people)} given): rank and strangers need two people or more")
    device = next(judge.parameters()).device
    pairs = zip(tqdm(people, desc="references", unit="person", leave=False), clips, strict=True)
    return References(list(people), torch.stack([reference(judge, person, video.to(device)) for person, video in pairs]))


def similarity(embedding: Tensor, references: References, who: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine similarity of people to their own reference and to the references of all others.

    Args:
        embedding: (B, dim), unit norm.
        references: N people.
        who: (B,) the row of each clip's person in the references.

    Returns:
        Cosine to the person's own reference (B,), and the mean cosine to all others' (B,), both in [-1, 1]. A lower own cosine is
        more protection; the strangers' cosine is the level at which the person is no longer recognised.
    """
    cosine = embedding @ references.embeddings.to(embedding).T
    own = cosine.gather(1, who[:, None]).squeeze(1)
    return own, (cosine.sum(1) - own) / (cosine.shape[1] - 1)


def rank1(embedding: Tensor, references: References, who: Tensor) -> Tensor:
    """1 where the nearest reference is the person's own, else 0: (B,). Lower is more protection; guessing gives 1 / N."""
    cosine = embedding @ references.embeddings.to(embedding).T
    return (cosine.argmax(1) == who).float()


def identity_shift(clean_own: Tensor, own: Tensor, strangers: Tensor) -> Tensor:
    """How far a clip is from its person, on the scale from the clean clip to strangers.

    Args:
        clean_own: Cosine of the clean photo's clip to the person's reference, per clip or the mean of a set.
        own: The same of the protected photo's clip.
        strangers: Its mean cosine to all others.

    Returns:
        The same shape: 0: as similar to the person as the clean clip; 1: no more similar than strangers; it can be negative or exceed 1.
        Higher is more protection. NaN where the clean clip is no nearer to the person than to strangers.
    """
    whole = clean_own - strangers
    return torch.where(whole > 0, (clean_own - own) / whole, torch.full_like(whole, torch.nan))
