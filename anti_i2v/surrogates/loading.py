"""Loading diffusers pipelines from a folder, a shipped name or the hub: safetensors only, every failure one line."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from anti_i2v.errors import UsageError
from anti_i2v.generators.hub import hub_id
from anti_i2v.resources import find_folder
from anti_i2v.surrogates.texts import fingerprint

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline, ModelMixin
    from transformers import PreTrainedTokenizerFast

SAFETY_CHECKER = "safety_checker"
"""The part of a pipeline that is never loaded, see `PassThrough`."""
PORTRAITS_VERSION = 2
"""Version of the Portraits models: how people are drawn and at which size. Figures of two versions cannot be compared."""
PORTRAITS_FILE = "world.json"
"""Beside `model_index.json` of a Portraits model; other pipelines have none."""


def read_index(source: str) -> tuple[str, Mapping[str, object]]:
    """Where a pipeline lies and what its model_index.json says, without loading a weight.

    Args:
        source: A folder, the name of a shipped checkpoint, or a hub id `owner/name`, which `@` and a revision may follow.

    Raises:
        UsageError: It cannot be found, is not a pipeline, or is a Portraits model of another version.
    """
    from diffusers import DiffusionPipeline

    on_hub = hub_id(source) is not None
    location = source if on_hub else str(find_folder(source))
    if not on_hub and not (Path(location) / "model_index.json").is_file():
        raise UsageError(
            f"no model_index.json in {location}, so it is no diffusers pipeline; give a folder that a pipeline's save_pretrained wrote"
        )
    if not on_hub:
        _check_portraits_version(Path(location))
    try:
        path, revision = split_revision(location)
        return location, dict(DiffusionPipeline.load_config(path, **revision))
    except (OSError, ValueError) as error:
        missing = f"no folder {source!r}, and the hub did not give it"
        problem = missing if on_hub else f"cannot read {location}/model_index.json"
        raise UsageError(f"{problem}: {_first_line(error)}; give an existing pipeline folder or hub id") from error


def _check_portraits_version(folder: Path) -> None:
    """Refuse a Portraits model of another version; other pipelines have no such file and pass."""
    file = folder / PORTRAITS_FILE
    if not file.is_file():
        return
    try:
        version = json.loads(file.read_text(encoding="utf-8"))["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{file} names no version of a Portraits model ({error}); fetch or make the folder again") from error
    if version != PORTRAITS_VERSION:
        raise UsageError(
            f"{folder} is a Portraits model of version {version}, this anti_i2v knows version {PORTRAITS_VERSION}; "
            "train it again (checkpoints/README.md), or install the release that it came with"
        )


def split_revision(location: str) -> tuple[str, dict[str, str]]:
    """A location from `read_index` as what `from_pretrained` methods take: folder or hub id, and the revision if one is named."""
    name, revision = hub_id(location) or (location, None)
    return (name, {"revision": revision}) if revision else (name, {})


def text_identity(location: str, parts: Sequence[str]) -> str:
    """What the encoding of a prompt depends on beside the prompt: see `fingerprint`; of a pipeline on the hub the commit.

    Args:
        location: From `read_index`.
        parts: Parts of the pipeline that prompts go through.

    Raises:
        UsageError: The hub cannot be asked for its commit, and nothing is in its local cache.
    """
    from diffusers import DiffusionPipeline

    path, revision = split_revision(location)
    if Path(path).is_dir():
        return fingerprint(Path(path), parts)
    try:
        _, commit = DiffusionPipeline.load_config(path, return_commit_hash=True, **revision)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot find {location}: {_first_line(error)}; give an existing pipeline folder or hub id") from error
    return f"{path}@{commit}"


def load_pipeline(
    location: str,
    dtype: torch.dtype = torch.float32,
    without: Sequence[str] = (),
    num_blocks: Mapping[str, Mapping[str, int]] | None = None,
) -> DiffusionPipeline:
    """The pipeline at a location from `read_index`, whatever precision its files are stored in.

    Args:
        location: A folder or a hub id.
        dtype: Of the weights; autoencoder and image encoder are always float32, because reduced precision moves what they
            make of a photo by more than a small residual does.
        without: Parts to leave out.
        num_blocks: Denoiser's name in the pipeline → entry of its configuration → how many blocks to load; the others whole.

    Raises:
        UsageError: A file is missing, unreadable or not safetensors.
    """
    from diffusers import DiffusionPipeline
    from safetensors import SafetensorError

    path, revision = split_revision(location)
    types = {"default": dtype, "vae": torch.float32, "image_encoder": torch.float32}
    try:  # safetensors only: nothing is ever loaded by pickle
        index = dict(DiffusionPipeline.load_config(path, **revision))
        parts: dict[str, object] = {name: None for name in (*without, SAFETY_CHECKER) if name in index}
        parts |= {name: part for name, part in llama_tokenizers(location, index).items() if name not in parts}
        for name, counts in (num_blocks or {}).items():
            if counts and index.get(name) not in (None, [None, None]):
                parts[name] = _load_denoiser(location, name, index, dtype, counts)
        # By its own class: the base class would load again what is given for a part that the class calls optional.
        pipeline = pipeline_class(index).from_pretrained(path, dtype=types, use_safetensors=True, **revision, **parts)
    except (OSError, ValueError, SafetensorError) as error:
        reason = _first_line(error)
        raise UsageError(f"cannot load the pipeline {location}: {reason}; fetch or write it again") from error
    return pipeline


class PassThrough:
    """In the place of a pipeline's safety checker: it checks nothing, and finds every prompt and every clip safe."""

    def to(self, device: object) -> PassThrough:
        """Nothing to move."""
        return self

    def check_text_safety(self, prompt: str) -> bool:
        """Every prompt is safe."""
        return True

    def check_video_safety(self, clip: object) -> object:
        """The clip as it is."""
        return clip


def pipeline_class(index: Mapping[str, object]) -> type[DiffusionPipeline]:
    """The class that model_index.json names; where it insists on a safety checker, one that gives itself a `PassThrough`.

    The surrogates call denoiser and autoencoder themselves, so a pipeline's checker would never run; but Cosmos makes
    its own wherever none is given, from a package and weights that nothing else here needs.
    """
    import diffusers

    pipeline: type[DiffusionPipeline] = getattr(diffusers, str(index["_class_name"]))
    needs_checker = SAFETY_CHECKER in inspect.signature(pipeline.__init__).parameters
    return _without_checker(pipeline) if needs_checker else pipeline  # type: ignore[arg-type]  # a class is hashable


@functools.cache
def _without_checker(pipeline: type[DiffusionPipeline]) -> type[DiffusionPipeline]:
    initialise = pipeline.__init__

    @functools.wraps(initialise)  # diffusers reads the names of a pipeline's parts from the signature
    def without_checker(self: DiffusionPipeline, *args: object, **parts: object) -> None:
        initialise(self, *args, **{**parts, SAFETY_CHECKER: PassThrough()})

    return type(pipeline.__name__, (pipeline,), {"__init__": without_checker})


def _load_denoiser(location: str, name: str, index: Mapping[str, object], dtype: torch.dtype, counts: Mapping[str, int]) -> ModelMixin:
    """A denoiser with its first blocks only; the files' other weights are not read."""
    import diffusers
    from diffusers.utils import logging

    path, revision = split_revision(location)
    entry = index[name]
    assert isinstance(entry, (list, tuple))
    network: type[ModelMixin] = getattr(diffusers, str(entry[1]))
    counts = cap_counts(network.load_config(path, subfolder=name, **revision), counts)
    level = logging.get_verbosity()
    logging.set_verbosity_error()  # it would list every weight that is left behind
    try:
        return network.from_pretrained(path, subfolder=name, dtype=dtype, use_safetensors=True, **revision, **counts)
    finally:
        logging.set_verbosity(level)


def cap_counts(config: Mapping[str, int], counts: Mapping[str, int]) -> dict[str, int]:
    """Entries of a network's configuration that say how many blocks, at most as many as there are: more would be made up.

    One that is not stated is left as the class has it, all of them.
    """
    return {key: min(count, config[key]) for key, count in counts.items() if key in config}


def llama_tokenizers(location: str, index: Mapping[str, object]) -> dict[str, PreTrainedTokenizerFast]:
    """The pipeline's tokenizers of the LLaMA class, by name, each as its tokenizer.json describes it.

    That class splits every text as LLaMA 1 did, whatever the file says, and diffusers loads by the class that
    model_index.json names: with LLaMA 3, which HunyuanVideo reads prompts with, other tokens come out
    (github.com/huggingface/transformers/issues/45488).
    """
    from transformers import PreTrainedTokenizerFast

    path, revision = split_revision(location)
    classes = (["transformers", "LlamaTokenizer"], ["transformers", "LlamaTokenizerFast"])
    names = [name for name, entry in index.items() if entry in classes]
    # A tokenizer has no weights, and the argument no effect: it is what every from_pretrained of this package is given.
    return {name: PreTrainedTokenizerFast.from_pretrained(path, subfolder=name, use_safetensors=True, **revision) for name in names}


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(". ")
