"""The frozen models that a training protects against: one, or several by name, and which of them a step asks.

What the generator minimises is Σ share · loss over the members, shares being weights by their sum. A step computes all of
it, or one member drawn in proportion to its share, which is the same in the mean and costs one member. With several
processes each may hold members of its own: every process scales its loss so that the mean gradient, which is what
processes exchange, is the gradient of the whole sum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.objectives import Objective
from anti_i2v.probing.choice import read_taps
from anti_i2v.surrogates import Surrogate
from anti_i2v.training.feature_loss import compare

AUTO = "auto"
"""In place of taps: those that `anti-i2v layers` chose."""


@dataclass
class SurrogateConfig:
    """One frozen model: what to load, and how a training looks at it.

    Attributes:
        source: Pipeline folder, name of a shipped checkpoint, or hub id.
        taps: Layers of its denoiser, such as `blocks.11`, and the other taps that `Surrogate` names; `auto`, alone or among them, stands
            for the deep layers of `taps_file`.
        height, width: Size in pixels at which it sees photos.
        num_frames: Length of the clips.
        steps: Length of its schedule.
        min_sigma: Training draws noise levels at least this high, where a video model decides what happens.
        weight: What it counts beside the others.
        dtype: Of its denoiser.
        checkpointing: Compute its layers again in the backward pass instead of keeping what they need.
        features_only: Load what training needs and no more; then there are no clips of it, in pictures or in `test`.
        objective: What is minimised on its features; the training's own unless given.
        max_sigma: Training draws noise levels at most this high.
        taps_file: What `anti-i2v layers` found out about this model, a `taps.yaml`.
    """

    source: Path
    taps: list[str] | str
    height: int = 128
    width: int = 128
    num_frames: int = 9
    steps: int = 20
    min_sigma: float = 0.75
    weight: float = 1.0
    dtype: Literal["float32", "bfloat16"] = "float32"
    checkpointing: bool = False
    features_only: bool = False
    objective: Objective | None = None
    max_sigma: float = 1.0
    taps_file: Path | None = None


def chosen_taps(taps: Sequence[str] | str, file: Path | None, source: str) -> list[str]:
    """Taps by name, `auto` replaced by the deep layers of a `taps.yaml`.

    Raises:
        UsageError: There is no file, or it was made for another surrogate.
    """
    names = [taps] if isinstance(taps, str) else list(taps)
    if AUTO not in names:
        return names
    if file is None:
        raise UsageError(f"taps are {AUTO!r}, but taps_file is not set; `anti-i2v layers --surrogate {source} --out DIR` writes one")
    where = names.index(AUTO)
    return [*names[:where], *read_taps(file, source), *names[where + 1 :]]


class Member:
    """A loaded surrogate with its objective.

    Args:
        config: What to load.
        objective: Where the config has none.
        prompts: All that will be asked for; empty if that is not known, and then the text encoder is kept.
    """

    def __init__(self, config: SurrogateConfig, objective: Objective, prompts: Sequence[str] = ()) -> None:
        self.config = config
        self.objective = config.objective if config.objective is not None else objective
        self.surrogate = Surrogate.from_pretrained(
            config.source.as_posix(),  # also where it is a hub id
            chosen_taps(config.taps, config.taps_file, config.source.as_posix()),
            config.height,
            config.width,
            config.num_frames,
            config.steps,
            prompts,
            config.dtype,
            config.checkpointing,
            config.features_only,
        )
        self.objective.check_taps(self.surrogate.taps)

    def to(self, device: torch.device) -> None:
        """Move the frozen model and the objective."""
        self.surrogate.to(device)
        self.objective.to(device)

    def loss(
        self, clean: Tensor, protected: Tensor, prompts: list[str], random: torch.Generator, video: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The objective on what the model makes of two versions of photos at one draw.

        Args:
            clean: (B, 3, H, W) in [0, 1].
            protected: Likewise.
            prompts: One a photo.
            random: Decides the draw.
            video: (B, T, 3, H, W) in [0, 1], clips that begin with the photos, where there are any: noise is put on them.
        """
        with torch.no_grad():
            text = self.surrogate.encode_text(prompts)
            draw = self.surrogate.draw(len(clean), random, self.config.min_sigma, self.config.max_sigma)
        return compare(self.surrogate, self.objective, clean, protected, text, draw, video)


class Ensemble:
    """Frozen models by name. No module: nothing of it may enter a checkpoint, be cast, or be trained.

    Args:
        configs: Name → model; at least one.
        objective: For those without one of their own.
        use: A step asks `one` of the members, drawn by weight, or `all`.
        assign: Every process holds all members (`every`), or the process of rank r members r, r + R, … of R processes (`by-rank`).

    Raises:
        UsageError: No members, or weights that are not positive.
    """

    def __init__(
        self,
        configs: Mapping[str, SurrogateConfig],
        objective: Objective,
        use: Literal["one", "all"] = "one",
        assign: Literal["every", "by-rank"] = "every",
    ) -> None:
        if not configs:
            raise UsageError("surrogates is empty; name at least one")
        wrong = {name: config.weight for name, config in configs.items() if not 0 < config.weight < float("inf")}
        if wrong:
            raise UsageError(f"weights of surrogates must be positive, not {wrong}; leave out what should not count")
        self.configs, self.objective, self.use, self.assign = dict(configs), objective, use, assign
        self.names = list(configs)
        total = sum(config.weight for config in configs.values())
        self.shares = [config.weight / total for config in configs.values()]
        self.members: dict[str, Member] = {}

    def held(self, rank: int = 0, processes: int = 1) -> list[int]:
        """Numbers of the members that a process holds; with more processes than members several hold the same."""
        everyone = range(len(self.names))
        if self.assign == "every":
            return list(everyone)
        return [k for k in everyone if k % processes == rank] if rank < len(self.names) else [rank % len(self.names)]

    def load(self, rank: int = 0, processes: int = 1, prompts: Sequence[str] = ()) -> None:
        """Load what this process holds, once; see `Member`."""
        for k in self.held(rank, processes):
            name = self.names[k]
            if name not in self.members:
                self.members[name] = Member(self.configs[name], self.objective, prompts)

    @property
    def first(self) -> Member:
        """The first member this process holds: what validation and test look at."""
        if not self.members:
            raise RuntimeError("the surrogate is loaded by the trainer or by configure_model()")
        return next(iter(self.members.values()))

    def to(self, device: torch.device) -> None:
        """Move all members that are loaded."""
        for member in self.members.values():
            member.to(device)

    def asked(self, seed: int, rank: int = 0, processes: int = 1) -> list[tuple[int, float]]:
        """Which members a step asks, and by how much their losses count in this process: number, factor.

        Args:
            seed: Of the step; decides the draw.
            rank: Of this process.
            processes: How many there are.
        """
        held = self.held(rank, processes)
        holders = [sum(k in self.held(r, processes) for r in range(processes)) for k in held]
        factors = [self.shares[k] * processes / count for k, count in zip(held, holders, strict=True)]
        if self.use == "all" or len(held) == 1:
            return list(zip(held, factors, strict=True))
        drawn = int(torch.multinomial(torch.tensor(factors), 1, generator=torch.Generator().manual_seed(seed)))
        return [(held[drawn], sum(factors))]

    def loss(
        self,
        clean: Tensor,
        protected: Tensor,
        prompts: list[str],
        seed: int,
        rank: int = 0,
        processes: int = 1,
        video: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """What a step minimises.

        Of several members each goes backward to the protected photo on its own, so that never more than one keeps its
        activations: the gradient is complete although the value's own graph is a product with a constant.

        Args:
            clean: (B, 3, H, W) in [0, 1].
            protected: Likewise, with a graph.
            prompts: One a photo.
            seed: Of the step; each member draws from a generator of its own, whoever else is asked.
            rank: Of this process.
            processes: How many there are.
            video: See `Member.loss`.

        Returns:
            The scalar to minimise, and its named parts; of several members with their names before.
        """
        asked = self.asked(seed, rank, processes)
        several, apart = len(self.names) > 1, len(asked) > 1 and torch.is_grad_enabled()
        leaf = protected.detach().requires_grad_() if apart else protected
        total, slope = protected.new_zeros((), dtype=torch.float32), torch.zeros_like(protected, dtype=torch.float32)
        parts: dict[str, Tensor] = {}
        for k, factor in asked:
            name = self.names[k]
            random = torch.Generator().manual_seed(seed * 64 + k)
            loss, own = self.members[name].loss(clean, leaf, prompts, random, video)
            loss = factor * loss
            if apart:
                slope += torch.autograd.grad(loss, leaf)[0]
                loss = loss.detach()
            total = total + loss
            parts |= {f"{name}/{part}" if several else part: value for part, value in own.items()}
        if apart:
            through = (protected.float() * slope).sum()
            total = total.detach() + through - through.detach()
        return total, parts
