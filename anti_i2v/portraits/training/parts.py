"""Parts of a pipeline folder: written, loaded, and gone on from."""

from __future__ import annotations

import copy
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import torch
from torch import Tensor, nn

from anti_i2v import atomic
from anti_i2v.errors import UsageError
from anti_i2v.surrogates.loading import PORTRAITS_FILE, PORTRAITS_VERSION

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline, ModelMixin


class Autoencoding(Protocol):
    """The modules `pipeline` and `unet_pipeline`, as far as they are about autoencoders."""

    def load_autoencoder(self, folder: Path) -> ModelMixin: ...

    def encode(self, vae: ModelMixin, video: Tensor) -> Tensor: ...

    def decode(self, vae: ModelMixin, latents: Tensor) -> Tensor: ...


Network = TypeVar("Network")


def save_part(part: ModelMixin, folder: Path, dtype: torch.dtype = torch.float16) -> None:
    """Write one part of a pipeline, network, scheduler or tokenizer; networks in `dtype`, each file complete or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        if isinstance(part, nn.Module):
            # Not `part.to`: diffusers warns there about fp32 modules, which are made again at loading.
            part = nn.Module.to(copy.deepcopy(part), device="cpu", dtype=dtype)
        part.save_pretrained(temporary)
        config = Path(temporary) / "config.json"
        if config.is_file():  # no absolute path of the training machine in the file
            values = {name: value for name, value in json.loads(config.read_text()).items() if name != "_name_or_path"}
            if "dtype" in values:  # transformers, unlike diffusers, loads a network in the type that this names, whatever the file has
                values["dtype"] = "float32"
            config.write_text(json.dumps(values, indent=2) + "\n")
        for file in sorted(Path(temporary).iterdir(), reverse=True):
            file.chmod(0o644)
            file.replace(folder / file.name)


def save_index(pipeline: DiffusionPipeline, folder: Path) -> None:
    """Write the version of the Portraits and, last, `model_index.json`, which makes a folder of parts a pipeline."""
    for name, text in (
        (PORTRAITS_FILE, json.dumps({"version": PORTRAITS_VERSION}) + "\n"),
        ("model_index.json", pipeline.to_json_string()),
    ):
        with atomic.write(folder / name) as part:
            part.write_text(text, encoding="utf-8")


def load_part(network: type[Network], folder: Path, part: str, remedy: str) -> Network:
    """A trained network of a pipeline folder, in fp32.

    Args:
        network: Its class.
        folder: The pipeline folder.
        part: Its folder in there.
        remedy: What to do where it is missing.

    Raises:
        UsageError: It is missing: the stage that writes it has not run yet.
    """
    if not (folder / part / "config.json").is_file():
        raise UsageError(f"no {part} in {folder}; {remedy}")
    loaded: Network = network.from_pretrained(  # type: ignore[attr-defined]
        str(folder / part), torch_dtype=torch.float32, use_safetensors=True, local_files_only=True
    )
    return loaded


def start_from(network: nn.Module, trained: nn.Module, new: tuple[str, ...], source: str) -> None:
    """Give a network the weights of another that may differ in the channels of its latent only.

    Args:
        network: To be trained; changed in place.
        trained: Whose weights to take.
        new: Layers that read or write latents: where their sizes differ they stay as they are.
        source: What the user called `trained`.

    Raises:
        UsageError: Other layers differ, too.
    """
    own, source_state = network.state_dict(), trained.state_dict()
    fitting = {n: v for n, v in source_state.items() if not (n in own and v.shape != own[n].shape and n.rpartition(".")[0] in new)}
    try:
        network.load_state_dict({n: v for n, v in own.items() if n not in fitting and n in source_state} | fitting)
    except RuntimeError as error:
        raise UsageError(f"{source} has networks of other sizes than this run is set to; give it theirs") from error
