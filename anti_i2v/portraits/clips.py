"""The data set of the Portraits: seeded clips of people doing what a prompt says, rendered when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from anti_i2v.errors import UsageError
from anti_i2v.portraits.actions import ACTIONS, perform
from anti_i2v.portraits.identity import sample_identities
from anti_i2v.portraits.render import render
from anti_i2v.portraits.scene import Scene, sample_scenes

Split = Literal["train", "validation", "test"]

# split → (first identity, number of identities, clips of each). Disjoint ranges: no person is in two splits.
SPLITS: dict[str, tuple[int, int, int]] = {
    "train": (0, 8192, 32),
    "validation": (100_000, 256, 8),
    "test": (200_000, 256, 20),
}


@dataclass(frozen=True)
class Clip:
    """One clip: `video` (T, 3, H, W) in [0, 1]; masks (T, 1, H, W) in [0, 1]; `action` indexes `ACTIONS`."""

    video: Tensor
    prompt: str
    action: int
    identity: int
    person_mask: Tensor
    face_mask: Tensor


@dataclass(frozen=True)
class ClipBatch:
    """The same fields for B clips: tensors with a leading B, `action` and `identity` (B,) int64."""

    video: Tensor
    prompts: list[str]
    action: Tensor
    identity: Tensor
    person_mask: Tensor
    face_mask: Tensor


@dataclass(frozen=True)
class Cast:
    """N people, the seeds of their clips, their scenes, the actions (N,) int64 and the words that ask for these."""

    identity: list[int]
    seeds: list[int]
    scene: Scene
    action: Tensor
    prompts: list[str]


class PortraitClips(Dataset[Clip]):
    """Clips of one split; the first `people` of them show each person once, so `[0 … 63]` are 64 different people.

    Args:
        split: `train`, `validation` or `test`; no person is in two of them.
        num_frames: T; frame 0 is the same picture whatever T is, so T = 1 gives the photo that a clip starts from.
        height: H in pixels.
        width: W in pixels.
    """

    def __init__(self, split: Split = "train", num_frames: int = 9, height: int = 128, width: int = 128) -> None:
        if split not in SPLITS:
            raise UsageError(f"unknown split {split!r}; use one of {', '.join(SPLITS)}")
        if min(num_frames, height, width) < 1 or min(height, width) < 8:
            raise UsageError(f"cannot render {num_frames} frames of {height}x{width}; use at least 1 frame of 8x8")
        self.first, self.people, self.each = SPLITS[split]
        self.split, self.num_frames, self.height, self.width = split, num_frames, height, width

    def __len__(self) -> int:
        return self.people * self.each

    def __getitem__(self, index: int) -> Clip:
        if not 0 <= index < len(self):
            raise IndexError(index)
        b = self.batch([index])
        return Clip(b.video[0], b.prompts[0], int(b.action[0]), int(b.identity[0]), b.person_mask[0], b.face_mask[0])

    def cast(self, indices: Sequence[int]) -> Cast:
        """Who is in the clips with these indices, in which scene, and what they do."""
        identities = [self.first + int(i) % self.people for i in indices]
        seeds = [(self.first + int(i) % self.people) * 1009 + int(i) // self.people * 7 + 500_000_000 for i in indices]
        choice = torch.stack([torch.rand(2, generator=torch.Generator().manual_seed(seed + 3)) for seed in seeds])
        action = (choice[:, 0] * len(ACTIONS)).long()
        prompts = [
            ACTIONS[a].prompts[int(c * len(ACTIONS[a].prompts))] for a, c in zip(action.tolist(), choice[:, 1].tolist(), strict=True)
        ]
        return Cast(identities, seeds, sample_scenes(seeds), action, prompts)

    def batch(self, indices: Sequence[int]) -> ClipBatch:
        """Render the clips with these indices together; equal to rendering them one by one."""
        casts = self.cast(indices)
        generators = [torch.Generator().manual_seed(seed + 3) for seed in casts.seeds]
        for generator in generators:
            torch.rand(2, generator=generator)  # the action and its words, in `cast`
        texture = torch.stack([torch.randn(1, 12, 12, generator=g) for g in generators])
        # Frame by frame, so that the first frame's grain does not depend on how many follow.
        size = (1, self.height, self.width)
        grain = torch.stack([torch.stack([torch.randn(size, generator=g) for _ in range(self.num_frames)]) for g in generators])
        motion = perform(casts.action, casts.scene, self.num_frames)
        frames = render(sample_identities(casts.identity), casts.scene, motion, self.height, self.width, grain, texture)
        return ClipBatch(frames.video, casts.prompts, casts.action, torch.tensor(casts.identity), frames.person_mask, frames.face_mask)
