"""Identity embedders as folders: `config.json` in plain types beside `model.safetensors` (fp16), each complete or not at all.

A folder says whether it is a judge or an objective embedder and is refused for the other: a judge that a residual was optimised
against measures that residual and not the person.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from torch import nn

from anti_i2v import atomic
from anti_i2v.embedders.embedder import IdentityEmbedder
from anti_i2v.errors import UsageError
from anti_i2v.resources import find_folder

FORMAT = 1
"""Version of the folder that `save_embedder` writes."""

Role = Literal["judge", "objective"]
"""What an embedder is for: to judge clips, or to be optimised against."""

OBJECTIVE_EMBEDDERS = ("portrait-faces", "portrait-faces-2")
"""The shipped embedders that objectives attack."""

SHIPPED: dict[Role, str] = {"judge": "portrait-judge", "objective": OBJECTIVE_EMBEDDERS[0]}
"""Role → an embedder of that role that ships."""


def save_network(network: nn.Module, config: Mapping[str, object], folder: str | Path) -> None:
    """Write `config.json` and `model.safetensors` (floating weights in fp16), each complete or not at all."""
    from safetensors.torch import save

    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    state = {n: v.cpu().half() if v.is_floating_point() else v.cpu() for n, v in network.state_dict().items()}
    with atomic.write(path / "model.safetensors") as part:
        part.write_bytes(save({name: value.contiguous() for name, value in state.items()}))
    with atomic.write(path / "config.json") as part:
        part.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def save_embedder(embedder: IdentityEmbedder, folder: str | Path, role: Role) -> None:
    """Write an embedder's folder; see `load_embedder`."""
    save_network(embedder, {"format": FORMAT, "role": role, **embedder.config()}, folder)


def load_embedder(folder: str | Path, role: Role) -> IdentityEmbedder:
    """The trained embedder of a folder, in fp32, in eval mode, frozen.

    Args:
        folder: A folder with `config.json` and `model.safetensors`, or the name of a shipped one.
        role: What it shall be used for; a folder that names no role is a judge's.

    Raises:
        UsageError: The folder or one of its files is missing, of another format version, of the other role, or no identity embedder.
    """
    from safetensors.torch import load_file

    path, remedy = find_folder(folder), f"give e.g. {SHIPPED[role]}"
    config, weights = path / "config.json", path / "model.safetensors"
    for file in (config, weights):
        if not file.is_file():
            raise UsageError(f"no {file.name} in {path}; {remedy}")
    try:
        settings = dict(json.loads(config.read_text(encoding="utf-8")))
        version, folder_role = settings.pop("format", None), settings.pop("role", "judge")
        if version != FORMAT:
            raise UsageError(f"{config} has format {version}; this version of anti_i2v reads format {FORMAT}; {remedy}")
        if folder_role != role:
            raise UsageError(
                f"{path.name} is for the role {folder_role!r}, not {role!r}: what was optimised on an embedder cannot be judged by it; "
                f"{remedy}"
            )
        embedder = IdentityEmbedder(**settings)
    except (TypeError, ValueError, RuntimeError) as error:  # a JSONDecodeError is a ValueError, an unknown backbone a RuntimeError
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{config} does not describe an identity embedder: {error}; {remedy}") from error
    state = {name: value.float() if value.is_floating_point() else value for name, value in load_file(weights).items()}
    try:
        embedder.load_state_dict(state)
    except RuntimeError as error:
        raise UsageError(f"{weights} does not hold the weights that {config.name} describes; {remedy}") from error
    return embedder.eval().requires_grad_(False)
