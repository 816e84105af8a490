"""Rendered people in other scenes than those that are attacked: the references of identity embedders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from anti_i2v.embedders import Embedder
from anti_i2v.errors import UsageError
from anti_i2v.evaluation.identity import References, embed_references
from anti_i2v.portraits.clips import PortraitClips, Split


def reference_clips(split: Split, people: Sequence[int], height: int, width: int, scenes: int = 4, num_frames: int = 3) -> Iterator[Tensor]:
    """Clips of each person from other scenes than scene 0, whose first frame is the photo that is attacked.

    Args:
        split: Of the rendered people.
        people: Their indices in the split.
        height: H in pixels.
        width: W in pixels.
        scenes: Scenes of each person, at least one: 1, 2, … `scenes`.
        num_frames: T of each scene, from the start to the end of its action.

    Returns:
        For each person (scenes, T, 3, H, W) in [0, 1], rendered when it is asked for.

    Raises:
        UsageError: There are too few or too many scenes.
    """
    clips = PortraitClips(split, num_frames, height, width)
    if not 1 <= scenes < clips.each:
        raise UsageError(f"{scenes} reference scenes; the split {split} has 1 to {clips.each - 1} beside scene 0")
    numbers = range(1, scenes + 1)
    return (clips.batch([person % clips.people + scene * clips.people for scene in numbers]).video for person in people)


def portrait_references(judge: Embedder, split: Split, people: Sequence[int], height: int, width: int) -> References:
    """The references of rendered people; see `reference_clips` and `evaluation.identity.embed_references`."""
    return embed_references(judge, people, reference_clips(split, people, height, width))
