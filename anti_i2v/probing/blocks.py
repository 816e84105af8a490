"""The blocks of a denoiser in the order of computation, and what tells one surrogate from another without its weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from anti_i2v.errors import UsageError
from anti_i2v.surrogates.loading import read_index, split_revision
from anti_i2v.surrogates.registry import find_family

U_NET = ("down_blocks", "mid_block", "up_blocks")
"""What every U-Net of diffusers calls its blocks."""


def every_block(denoiser: nn.Module, lists: Mapping[str, str]) -> list[str]:
    """The blocks of a denoiser as taps, in the order of computation.

    Args:
        denoiser: The network.
        lists: Its family's `block_lists`; a family without any has a U-Net.

    Raises:
        UsageError: It has no blocks by these names.
    """
    # Blocks that refine the prompt alone have no place in the picture that a score could be about.
    names = [name for name in lists if not name.startswith("text_")] or list(U_NET)
    blocks = []
    for name in names:
        child = getattr(denoiser, name, None)
        blocks += [f"{name}.{i}" for i in range(len(child))] if isinstance(child, nn.ModuleList) else [name] * (child is not None)
    if not blocks:
        raise UsageError(f"{type(denoiser).__name__} has no {', '.join(names)}; name its layers with --taps")
    return blocks


@dataclass(frozen=True)
class Kind:
    """What a surrogate is, from its configuration alone.

    Attributes:
        source: As the user calls it; two names of one network are one kind.
        pipeline: Class of the pipeline.
        denoiser: Class of its denoiser.
        configuration: Hash of the denoiser's configuration.
        blocks: Number of the denoiser's blocks.
    """

    source: str
    pipeline: str
    denoiser: str
    configuration: str
    blocks: int

    def same(self, other: Kind) -> bool:
        """Whether layers of one are layers of the other; the weights may differ."""
        return all(getattr(self, name) == getattr(other, name) for name in ("pipeline", "denoiser", "blocks", "configuration"))

    def __str__(self) -> str:
        return f"{self.source} ({self.pipeline}, {self.denoiser} of {self.blocks} blocks, configuration {self.configuration})"


def kind_of(source: str) -> tuple[Kind, nn.Module]:
    """A surrogate's kind, and its denoiser without weights (on the device `meta`).

    Args:
        source: As in `Surrogate.from_pretrained`; of a pipeline on the hub only configuration files are fetched.

    Raises:
        UsageError: The source is no supported pipeline.
    """
    import diffusers

    location, index = read_index(source)
    family = find_family(source, index)
    path, revision = split_revision(location)
    entry = index.get(family.denoiser_name)
    if not isinstance(entry, (list, tuple)):
        raise UsageError(f"{source} names no {family.denoiser_name} in model_index.json; fetch or write it again")
    network = getattr(diffusers, str(entry[1]))
    try:
        config = network.load_config(path, subfolder=family.denoiser_name, **revision)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"cannot read the configuration of {source}'s {family.denoiser_name} ({error}); fetch or write it again"
        ) from error
    with torch.device("meta"):
        denoiser: nn.Module = network.from_config(config)
    settings = {name: value for name, value in config.items() if not name.startswith("_")}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:12]
    blocks = len(every_block(denoiser, family.block_lists))
    return Kind(source, str(index.get("_class_name")), str(entry[1]), digest, blocks), denoiser
