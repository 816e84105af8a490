"""Where an autoencoder alone lies: a folder, a pipeline with `/vae` behind it, a hub id, or the file of a tiny one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from anti_i2v.errors import UsageError
from anti_i2v.resources import shipped
from anti_i2v.surrogates.autoencoders.classes import PICTURES, VIDEOS

CONFIG = "config.json"
INDEX = "model_index.json"
WEIGHTS = ".safetensors"
PICKLES = (".bin", ".ckpt", ".pkl", ".pt", ".pth")
"""How files end that may run code when they are read."""

HUB_ID = re.compile(r"(\w[\w.-]*/\w[\w.-]*)((?:/\w[\w.-]*)*)(?:@([\w./-]+))?")
"""Repository, subfolders, revision."""


@dataclass(frozen=True)
class AutoencoderSource:
    """An autoencoder that was found, before its weights are read.

    Attributes:
        path: Folder, or `owner/name` on the hub; of a tiny video autoencoder the file of its weights.
        config: What its config.json says; empty for a tiny video autoencoder, whose weights say all.
        subfolder: Within a repository on the hub.
        revision: Branch, tag or commit on the hub.
    """

    path: str
    config: Mapping[str, object]
    subfolder: str = ""
    revision: str | None = None

    @property
    def class_name(self) -> str:
        return str(self.config.get("_class_name"))


def find_autoencoder(source: str) -> AutoencoderSource | None:
    """The autoencoder that a source names, None if it names a pipeline, or nothing that is here.

    Args:
        source: One of

            * a folder that `save_pretrained` of an autoencoder wrote, also one inside a pipeline's: `FOLDER/vae`;
            * a shipped pipeline and the folder within it: `portrait-dit/vae`;
            * `owner/name`, `owner/name/subfolder`, each also with `@revision`, on the hub;
            * a `.safetensors` file of a tiny video autoencoder (see `tiny_video`), or a folder with exactly one and no config.json.

    Raises:
        UsageError: It is an autoencoder or a file of weights, but none that can be used.
    """
    path = Path(source).expanduser()
    if path.suffix in PICKLES and (path.is_file() or not path.exists()):
        raise UsageError(f"{source} is a pickle, which may run code when it is read; give the same weights as a {WEIGHTS} file")
    if path.is_file() or path.suffix == WEIGHTS:
        return _tiny_video(path)
    for folder in (path, shipped("checkpoints") / path):
        if folder.is_dir():
            return _in_folder(source, folder)
    named = HUB_ID.fullmatch(source)
    return None if named is None else _on_hub(source, named[1], named[2].strip("/"), named[3])


def _in_folder(source: str, folder: Path) -> AutoencoderSource | None:
    if (folder / INDEX).is_file():
        return None
    if (folder / CONFIG).is_file():
        try:
            config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        except ValueError as error:
            raise UsageError(f"cannot read {folder / CONFIG}: {error}; fetch or write it again") from error
        return AutoencoderSource(str(folder), _check_class(source, config))
    weights = sorted(folder.glob(f"*{WEIGHTS}"))
    if len(weights) > 1:
        raise UsageError(
            f"{source} has no {CONFIG} and {len(weights)} {WEIGHTS} files, {', '.join(f.name for f in weights)}; name one of them"
        )
    return _tiny_video(weights[0]) if weights else None


def _tiny_video(file: Path) -> AutoencoderSource:
    if not file.is_file():
        raise UsageError(f"no file {file}; give the {WEIGHTS} file of a tiny video autoencoder")
    if file.suffix != WEIGHTS:
        raise UsageError(f"{file} is no {WEIGHTS} file; give a folder, or the {WEIGHTS} file of a tiny video autoencoder")
    return AutoencoderSource(str(file), {})


def _on_hub(source: str, name: str, subfolder: str, revision: str | None) -> AutoencoderSource | None:
    """An autoencoder on the hub; None for a whole pipeline, and for what the hub does not give where it may be one."""
    from diffusers import AutoencoderKL, DiffusionPipeline

    if not subfolder:
        try:
            DiffusionPipeline.load_config(name, revision=revision)
        except (OSError, ValueError):
            pass
        else:
            return None
    try:
        config = AutoencoderKL.load_config(name, subfolder=subfolder or None, revision=revision)
    except (OSError, ValueError) as error:
        if not subfolder:
            return None  # whoever looks for a pipeline there says why there is none
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(". ")
        raise UsageError(
            f"no folder {source!r}, and the hub did not give it: {reason}; give an existing folder, or a hub id and the autoencoder's "
            "subfolder, such as Wan-AI/Wan2.2-TI2V-5B-Diffusers/vae"
        ) from error
    return AutoencoderSource(name, _check_class(source, dict(config)), subfolder, revision)


def _check_class(source: str, config: Mapping[str, object]) -> Mapping[str, object]:
    name = config.get("_class_name")
    if name not in (*PICTURES, *VIDEOS):
        raise UsageError(
            f"{source} is a {name}, not a pipeline nor an autoencoder that reads photos; supported autoencoders: "
            f"{', '.join(sorted((*PICTURES, *VIDEOS)))}; name the whole pipeline, or the folder of its autoencoder, usually vae"
        )
    return config
