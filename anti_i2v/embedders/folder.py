"""Identity embedders as folders: `config.json` in plain types beside `model.safetensors` (fp16), each complete or not at all.

A folder says whether it is a judge or an objective embedder and is refused for the other: a judge that a residual was optimised
against measures that residual and not the person.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from torch import nn

from anti_i2v import atomic
from anti_i2v.embedders.base import Embedder
from anti_i2v.embedders.dlib_resnet import NAME as DLIB
from anti_i2v.embedders.dlib_resnet import load_dlib
from anti_i2v.embedders.embedder import IdentityEmbedder
from anti_i2v.embedders.onnx_network import KIND as ONNX
from anti_i2v.embedders.onnx_network import build_onnx
from anti_i2v.errors import UsageError
from anti_i2v.resources import find_folder

FORMAT = 1
"""Version of the folders that `save_network` writes."""

Network = TypeVar("Network", bound=nn.Module)

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


def load_network(folder: str | Path, what: str, remedy: str, build: Callable[[Path, dict[str, Any]], Network]) -> Network:
    """The trained network of a folder that `save_network` wrote, in fp32, in eval mode, frozen.

    Args:
        folder: A folder with `config.json` and `model.safetensors`, or the name of a shipped one.
        what: The kind of network, for messages.
        remedy: What to give instead, for messages.
        build: The folder and its settings, without the format → the network; it raises UsageError for settings of another kind of network.

    Raises:
        UsageError: The folder or one of its files is missing, damaged, of another format version, or of another network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = find_folder(folder)
    config, weights = path / "config.json", path / "model.safetensors"
    settings = read_config(path, what, remedy)
    if not weights.is_file():
        raise UsageError(f"no {weights.name} in {path}; {remedy}")
    try:
        network = build(path, settings)
    except UsageError:
        raise
    except (TypeError, ValueError, RuntimeError) as error:  # an unknown backbone is a RuntimeError
        raise UsageError(f"{config} does not describe {what}: {error}; {remedy}") from error
    try:
        state = load_file(weights)
        network.load_state_dict({name: value.float() if value.is_floating_point() else value for name, value in state.items()})
    except (RuntimeError, SafetensorError) as error:
        raise UsageError(f"{weights} does not hold the weights that {config.name} describes; {remedy}") from error
    return network.eval().requires_grad_(False)


def read_config(path: Path, what: str, remedy: str) -> dict[str, Any]:
    """The settings of a folder's `config.json`, without its format.

    Raises:
        UsageError: It is missing, damaged, or of another format version.
    """
    config = path / "config.json"
    if not config.is_file():
        raise UsageError(f"no {config.name} in {path}; {remedy}")
    try:
        settings = dict(json.loads(config.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:  # a JSONDecodeError is a ValueError
        raise UsageError(f"{config} does not describe {what}: {error}; {remedy}") from error
    version = settings.pop("format", None)
    if version != FORMAT:
        raise UsageError(f"{config} has format {version}; this version of anti_i2v reads format {FORMAT}; {remedy}")
    return settings


def save_embedder(embedder: IdentityEmbedder, folder: str | Path, role: Role) -> None:
    """Write an embedder's folder; see `load_embedder`."""
    save_network(embedder, {"format": FORMAT, "role": role, **embedder.config()}, folder)


def load_embedder(folder: str | Path, role: Role) -> Embedder:
    """The trained embedder of a folder, in fp32, in eval mode, frozen.

    Args:
        folder: A folder with `config.json` and `model.safetensors` or `model.onnx`, or the name of a shipped one; or `dlib`, the face
            network of the package `face-recognition-models`, which serves either role, but never both of one generator: see
            `refuse_shared`.
        role: What it shall be used for; a folder that names no role is a judge's.

    Raises:
        UsageError: See `load_network`; or it is of the other role.
    """
    if str(folder) == DLIB:
        return load_dlib()
    remedy = f"give e.g. {SHIPPED[role]}"
    path = find_folder(folder)
    settings = read_config(path, "an identity embedder", remedy)
    if settings.pop("kind", None) == ONNX:
        check_role(path, settings.pop("role", "judge"), role)
        return build_onnx(path, settings)

    def build(path: Path, settings: dict[str, Any]) -> IdentityEmbedder:
        check_role(path, settings.pop("role", "judge"), role)
        return IdentityEmbedder(**settings)

    embedder = load_network(path, "an identity embedder", remedy, build)
    embedder.name = path.name
    return embedder


def load_backbone(folder: str | Path, role: Role) -> IdentityEmbedder:
    """The same for embedders whose layers are read: those of `save_embedder`.

    Raises:
        UsageError: See `load_embedder`; or it is of another kind.
    """
    embedder = load_embedder(folder, role)
    if not isinstance(embedder, IdentityEmbedder):
        raise UsageError(f"{folder} is a face network whose layers cannot be read here; give e.g. {SHIPPED[role]}")
    return embedder


def check_role(path: Path, folder_role: object, role: Role) -> None:
    """Refuse a folder for a role that is not its own.

    Raises:
        UsageError: It is of the other role.
    """
    if folder_role != role:
        raise UsageError(
            f"{path.name} is for the role {folder_role!r}, not {role!r}: what was optimised on an embedder cannot be judged by it; "
            f"give e.g. {SHIPPED[role]}"
        )


def refuse_shared(judge: str | Path, objectives: Iterable[str | Path]) -> None:
    """Refuse a judge that the generator, or the residual, was optimised against.

    Args:
        judge: A folder or a name, as `load_embedder` takes it.
        objectives: Those of the objective embedders.

    Raises:
        UsageError: The judge is among them.
    """
    name = Path(judge).name
    if name in {Path(objective).name for objective in objectives}:
        raise UsageError(
            f"the judge {name!r} is an objective embedder of this generator: what was optimised on an embedder cannot be judged by it; "
            "give another judge"
        )
