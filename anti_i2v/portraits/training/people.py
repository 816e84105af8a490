"""Rendered people for training the judge of identity: many, in several scenes each, and in each scene at several moments."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from anti_i2v.portraits import PortraitClips
from anti_i2v.portraits.identity import sample_identities
from anti_i2v.portraits.training.data import Batch, StreamData, to_bytes_with_face
from anti_i2v.pretraining.embedder import MIN_FACE
from anti_i2v.training.schedule import share_of_run


class PeopleBank:
    """Rendered frames of people, several scenes each; new people replace the oldest.

    Args:
        people: People it holds.
        scenes: Scenes of each.
        frames: Frames of each scene, from the start to the end of its action.
        render: Height and width at which is rendered.
        size: Height and width that are kept.
        seed: Of all its draws.
        from_end: Take people from the end of the seed's order.
    """

    def __init__(self, people: int, scenes: int, frames: int, render: int, size: int, seed: int, from_end: bool = False) -> None:
        self.clips = PortraitClips("train", frames, render, render)
        self.people, self.scenes, self.size, self.from_end = people, scenes, size, from_end
        self.random = torch.Generator().manual_seed(seed)
        self.queue: list[int] = []
        self.pixels = torch.zeros(people, scenes, frames, 4, size, size, dtype=torch.uint8)  # the fourth channel is the face
        self.seen = torch.zeros(people, scenes, frames, dtype=torch.bool)
        self.colours = torch.zeros(people, 6)  # colours of skin and hair
        self.written, self.owed = 0, 0.0

    def __len__(self) -> int:
        return min(self.written, self.people)

    def add(self, count: int) -> None:
        """Render `count` people, in random order and each once before any person comes again, in random scenes."""
        for _ in range(count):
            if not self.queue:
                self.queue = torch.randperm(self.clips.people, generator=self.random).tolist()
            person = self.queue.pop(0 if self.from_end else -1)
            scenes = torch.randperm(self.clips.each, generator=self.random)[: self.scenes].tolist()
            rendered = self.clips.batch([person + scene * self.clips.people for scene in scenes])
            slot = self.written % self.people
            pixels = to_bytes_with_face(rendered)
            self.pixels[slot] = shrunk(pixels.flatten(0, 1), self.size).view_as(self.pixels[slot])
            self.seen[slot] = rendered.face_mask.mean((2, 3, 4)) >= MIN_FACE
            who = sample_identities([self.clips.first + person])
            self.colours[slot] = torch.cat([who.skin[0], who.hair[0]])
            self.written += 1

    def fill(self, count: int) -> None:
        """Render until it holds `count` people."""
        from tqdm import tqdm

        for _ in tqdm(range(len(self), min(count, self.people)), desc="rendering people", unit="person"):
            self.add(1)

    def refresh(self, rate: float) -> None:
        """Add `rate` people on average."""
        self.owed += rate
        self.add(int(self.owed))
        self.owed -= int(self.owed)

    def lookalikes(self, people: Tensor, count: int, alike: int) -> Tensor:
        """`count` of the people, in groups of `alike` whose skin and hair have nearly the same colours: (count,)."""
        left, groups = people, []
        for _ in range(0, count, alike):
            near = (self.colours[left] - self.colours[left[0]]).norm(dim=1).topk(min(alike, len(left)), largest=False).indices
            groups.append(left[near])
            others = torch.ones(len(left), dtype=torch.bool)
            others[near] = False
            left = left[others]
        return torch.cat(groups)[:count]

    def draw(self, count: int, alike: int = 1) -> Tensor:
        """Frames with a face from two scenes each of `count` people, groups of them alike: (count, 2, 4, S, S) uint8."""
        ready = (self.seen.any(2).sum(1) >= 2).nonzero().squeeze(1)
        people = ready[torch.randperm(len(ready), generator=self.random)]
        # Half of all, so that a person has not the same neighbours every time.
        people = self.lookalikes(people[: max(count, len(people) // 2)], count, alike) if alike > 1 else people[:count]
        seen = self.seen[people]
        key = torch.rand(seen.shape, generator=self.random) * seen
        best, frame = key.max(2)
        scenes = best.topk(2, dim=1).indices
        return self.pixels[people[:, None], scenes, frame.gather(1, scenes)]

    def anything(self, count: int) -> Tensor:
        """Any frames: (count, 4, S, S) uint8."""
        index = [torch.randint(n, (count,), generator=self.random) for n in (len(self), *self.pixels.shape[1:3])]
        return self.pixels[index[0], index[1], index[2]]


def shrunk(pixels: Tensor, size: int) -> Tensor:
    """Bytes (N, C, H, W) at another size, antialiased as the judge does it: (N, C, size, size) uint8."""
    small = F.interpolate(pixels.float(), (size, size), mode="bilinear", antialias=True)
    return small.round().clamp(0, 255).to(torch.uint8)


class PeopleData(StreamData):
    """Two views each of many people, frames to make faceless ones from, and people to recognise.

    Args:
        batch_people: People in a batch, two views each.
        alike: People in a group of the batch whose skin and hair have nearly the same colours, so that colours alone do not tell
            them apart; 1 is a batch at random.
        alike_from: Share of the run from which batches hold such groups, 0–1; an untrained network learns nothing from them.
        faceless: Frames in a batch that are made faceless.
        people: People the bank holds.
        start: People rendered before the first step.
        scenes: Scenes of each.
        frames: Frames of each scene.
        render: Height and width at which is rendered.
        size: Height and width at which the judge looks.
        fresh: People rendered a step.
        validation_people: People of the validation split.
        seed: Of the draws.
        from_end: Take the people of the seed's order from its end: two networks trained with one seed, one from each end, know
            no person in common as long as both together see fewer than there are.
    """

    bank: PeopleBank | None

    def __init__(
        self,
        batch_people: int = 64,
        alike: int = 8,
        alike_from: float = 0.6,
        faceless: int = 24,
        people: int = 2048,
        start: int = 1024,
        scenes: int = 4,
        frames: int = 3,
        render: int = 128,
        size: int = 64,
        fresh: float = 0.5,
        validation_people: int = 100,
        seed: int = 0,
        from_end: bool = False,
    ) -> None:
        super().__init__(seed)
        self.batch_people, self.faceless, self.people, self.start = batch_people, faceless, people, start
        self.alike, self.alike_from = alike, alike_from
        self.scenes, self.frames, self.render, self.size, self.fresh = scenes, frames, render, size, fresh
        self.validation_people, self.from_end = validation_people, from_end

    def setup(self, stage: str) -> None:
        """Render the validation people and the bank, once."""
        if not self.validation:
            clips = PortraitClips("validation", self.frames, self.render, self.render)
            face_shares = []
            for person in range(self.validation_people):
                frames = to_bytes_with_face(clips.batch([person + scene * clips.people for scene in range(4)])).flatten(0, 1)
                face_shares.append(shrunk(frames, self.size).view(4, self.frames, 4, self.size, self.size).float() / 255.0)
            self.validation = [{"scenes": torch.stack(face_shares)}]
        if stage == "fit" and self.bank is None:
            self.bank = PeopleBank(self.people, self.scenes, self.frames, self.render, self.size, self.seed, self.from_end)
            self.bank.fill(self.start)

    def training_batch(self) -> Batch:
        """{"pairs": (B, 2, 4, S, S), "others": (N, 4, S, S)} in [0, 1]; the fourth channel is the face.

        A batch to validate on is {"scenes": (N, 4, T, 4, S, S)}: N people in four scenes.
        """
        assert self.bank is not None
        self.bank.refresh(self.fresh)
        late = self.trainer is None or share_of_run(self.trainer, self.trainer.global_step) >= self.alike_from
        pairs, others = self.bank.draw(self.batch_people, self.alike if late else 1), self.bank.anything(self.faceless)
        return {"pairs": pairs.float() / 255.0, "others": others.float() / 255.0}
