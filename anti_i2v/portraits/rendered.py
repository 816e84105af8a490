"""Rendered people as photos to probe a surrogate with: masks and identities are known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from anti_i2v.errors import UsageError
from anti_i2v.portraits import ACTIONS, PortraitClips
from anti_i2v.probing import Photos


class RenderedPhotos:
    """First frames of the Portraits' validation people; a batch is a person in several scenes.

    Args:
        people: How many.
        scenes: Photos of each.
        height: In pixels.
        width: In pixels.

    Raises:
        UsageError: More people or scenes than there are, or none.
    """

    description = "rendered portraits of the validation split, masks and identities known"
    prompts = tuple(prompt for action in ACTIONS for prompt in action.prompts)
    failures: Mapping[Path, str] = {}

    def __init__(self, people: int, scenes: int, height: int, width: int) -> None:
        self.clips = PortraitClips("validation", 1, height, width)
        for name, value, most in (("people", people, self.clips.people), ("scenes", scenes, self.clips.each)):
            if not 1 <= value <= most:
                raise UsageError(f"--{name} is {value}; there are 1 … {most}")
        self.people, self.scenes, self.count = people, scenes, people * scenes

    def __len__(self) -> int:
        return self.people

    def __iter__(self) -> Iterator[Photos]:
        for person in range(self.people):
            clip = self.clips.batch([person + scene * self.clips.people for scene in range(self.scenes)])
            yield Photos(clip.video[:, 0], clip.prompts, clip.person_mask[:, 0], clip.face_mask[:, 0], clip.identity)
