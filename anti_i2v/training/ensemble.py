"""The frozen models that a training protects against: one, or several by name, and which of them a step uses.

What the generator minimises is Σ share · loss over the members, shares being weights by their sum. A step computes all of
it, or one member drawn in proportion to its share, which is the same in the mean and costs one member. With several
processes each may have members of its own: every process scales its loss so that the mean gradient, which is what
processes exchange, is the gradient of the whole sum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.objectives import Objective
from anti_i2v.probing.choice import read_taps
from anti_i2v.surrogates import Draw, Surrogate
from anti_i2v.training.feature_loss import feature_loss

AUTO = "auto"
"""In place of taps: those that `anti-i2v layers` chose."""


@dataclass
class SurrogateConfig:
    """One frozen model: what to load, and how training uses it.

    Attributes:
        source: Pipeline folder, name of a shipped checkpoint, or hub id.
        taps: Layers of its denoiser, such as `blocks.11`, and the other taps that `Surrogate` names; `auto`, alone or among them, stands
            for the deep layers of `taps_file`.
        height, width: Size in pixels of its input.
        num_frames: Length of the clips.
        steps: Length of its schedule.
        min_sigma: Training draws noise levels at least this high, where a video model decides what happens.
        weight: Relative to those of the others.
        dtype: Of its denoiser.
        checkpointing: Compute its layers again in the backward pass instead of keeping what they need.
        features_only: Load only what training needs; then it makes no clips for pictures or `test`.
        objective: What is minimised on its features; by default that of the training.
        max_sigma: Training draws noise levels at most this high.
        taps_file: The `taps.yaml` that `anti-i2v layers` wrote for this model.
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


def resolve_taps(taps: Sequence[str] | str, file: Path | None, source: str) -> list[str]:
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


@dataclass
class Member:
    """A loaded surrogate, its objective and the configuration that both come from."""

    config: SurrogateConfig
    surrogate: Surrogate
    objective: Objective

    @classmethod
    def load(cls, config: SurrogateConfig, objective: Objective, prompts: Sequence[str] = ()) -> Member:
        """Load what a config describes.

        Args:
            config: What to load.
            objective: Where the config has none.
            prompts: All that can occur; empty if that is not known, and then the text encoder is kept.
        """
        source = config.source.as_posix()  # also where it is a hub id
        surrogate = Surrogate.from_pretrained(
            source,
            resolve_taps(config.taps, config.taps_file, source),
            config.height,
            config.width,
            config.num_frames,
            config.steps,
            prompts,
            config.dtype,
            config.checkpointing,
            config.features_only,
        )
        objective = objective if config.objective is None else config.objective
        objective.check_taps(surrogate.taps)
        return cls(config, surrogate, objective)

    @torch.no_grad()
    def draw(self, prompts: list[str], random: torch.Generator) -> tuple[Mapping[str, Tensor], Draw]:
        """The text and the draw of B prompts."""
        text = self.surrogate.encode_text(prompts)
        return text, self.surrogate.draw(len(prompts), random, self.config.min_sigma, self.config.max_sigma)


class Ensemble:
    """Frozen models by name. No module: nothing of it may enter a checkpoint, be cast, or be trained.

    Args:
        configs: Name → model; at least one.
        objective: For those without one of their own.
        use: A step uses `one` of the members, drawn by weight, or `all`.
        assign: Every process has all members (`every`), or the process of rank r members r, r + R, … of R processes (`by-rank`).

    Attributes:
        rank: Of this process; set before `load`.
        processes: How many there are; set before `load`.

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
        self.names, self.rank, self.processes = list(configs), 0, 1
        total = sum(config.weight for config in configs.values())
        self.shares = [config.weight / total for config in configs.values()]
        self.members: dict[str, Member] = {}

    def members_of(self, rank: int) -> list[int]:
        """Numbers of the members of a process; with more processes than members several have the same."""
        count = len(self.names)
        if self.assign == "every":
            return list(range(count))
        return list(range(rank, count, self.processes)) or [rank % count]

    def load(self, prompts: Sequence[str] = ()) -> None:
        """Load the members of this process, once; see `Member.load`."""
        for name in (self.names[k] for k in self.members_of(self.rank)):
            if name not in self.members:
                self.members[name] = Member.load(self.configs[name], self.objective, prompts)

    @property
    def embedder_names(self) -> tuple[str, ...]:
        """The identity embedders that any member's objective optimises against."""
        objectives = [self.objective, *(config.objective for config in self.configs.values() if config.objective is not None)]
        return tuple(dict.fromkeys(name for objective in objectives for name in objective.embedder_names))

    @property
    def first(self) -> Member:
        """The first member of this process: what validation and test look at."""
        if not self.members:
            raise RuntimeError("the surrogate is loaded by the trainer or by configure_model()")
        return next(iter(self.members.values()))

    def to(self, device: torch.device) -> None:
        """Move all members that are loaded, and their objectives."""
        for member in self.members.values():
            member.surrogate.to(device)
            member.objective.to(device)

    def choose_members(self, seed: int) -> list[tuple[int, float]]:
        """Which members the step of a seed uses, and by how much their losses count in this process: number, factor."""
        own = self.members_of(self.rank)
        everywhere = [k for rank in range(self.processes) for k in self.members_of(rank)]
        factors = [self.shares[k] * self.processes / everywhere.count(k) for k in own]
        if self.use == "all" or len(own) == 1:
            return list(zip(own, factors, strict=True))
        choice = int(torch.multinomial(torch.tensor(factors), 1, generator=torch.Generator().manual_seed(seed)))
        return [(own[choice], sum(factors))]

    def feature_loss(
        self,
        clean: Tensor,
        protected: Tensor,
        prompts: list[str],
        seed: int,
        video: Tensor | None = None,
        landmarks: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """What a step minimises: the weighted sum of the members' `feature_loss`, each at a draw of its own.

        Of several members each goes backward to the protected photo on its own, so that never more than one keeps its
        activations: the gradient is complete although the value's own graph is a product with a constant.

        Args:
            clean: (B, 3, H, W) in [0, 1].
            protected: Likewise, with a graph.
            prompts: One a photo.
            seed: Of the step; each member draws from a generator of its own, whichever others are used.
            video: See `feature_loss`.
            landmarks: (B, 5, 2) y, x in pixels of `clean`, of one face of each photo; see `Draw.landmarks`.

        Returns:
            The scalar to minimise, and its named parts; of several members with their names before.
        """
        members = self.choose_members(seed)
        separate = len(members) > 1 and torch.is_grad_enabled()
        leaf = protected.detach().requires_grad_() if separate else protected
        total, gradient = protected.new_zeros((), dtype=torch.float32), torch.zeros_like(protected, dtype=torch.float32)
        parts: dict[str, Tensor] = {}
        for k, factor in members:
            name = self.names[k]
            member = self.members[name]
            text, draw = member.draw(prompts, torch.Generator().manual_seed(seed * 64 + k))
            draw = replace(draw, landmarks=landmarks)
            loss, member_parts = feature_loss(member.surrogate, member.objective, clean, leaf, text, draw, video)
            loss = factor * loss
            if separate:
                gradient += torch.autograd.grad(loss, leaf)[0]
                loss = loss.detach()
            total = total + loss
            parts |= {f"{name}/{part}" if len(self.names) > 1 else part: value for part, value in member_parts.items()}
        if separate:
            product = (protected.float() * gradient).sum()
            total = total.detach() + product - product.detach()
        return total, parts
