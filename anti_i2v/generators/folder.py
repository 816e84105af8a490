"""A generator folder, opened once and readable without torch: `config.json`, the card, and the weights of each backend."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from anti_i2v.budget import check_epsilon
from anti_i2v.errors import UsageError

DEFAULT_GENERATOR = "portrait-generator"
FORMAT = 2
ONNX = "model.onnx"
SALIENCE_ONNX = "salience.onnx"
WEIGHTS = "model.safetensors"
ORIGIN = "weights"  # what `model.onnx` calls the fingerprint of the weights that it was made of
REMEDY = "give a folder that `anti-i2v export` wrote"


@dataclass(frozen=True)
class GeneratorFolder:
    """What a generator folder says about its generator.

    Attributes:
        path: The folder; that of a hub id lies in the hub's cache and must not be changed.
        name: Of the folder, or the hub's `owner/name`.
        class_name: Of the generator's class.
        arguments: Of its constructor.
        epsilon: Budget when a call gives none, in 1/255 steps.
        entries: All of `config.json`.
    """

    path: Path
    name: str
    class_name: str
    arguments: Mapping[str, str | int | float]
    epsilon: float
    entries: Mapping[str, object]

    @staticmethod
    def read(path: Path, name: str | None = None) -> GeneratorFolder:
        """Open a folder on this disk.

        Args:
            path: The folder.
            name: What it is called; by default, as the folder is.

        Raises:
            UsageError: `config.json` is missing, damaged or of another format, or its epsilon is outside 0–32.
        """
        file = path / "config.json"
        if not file.is_file():
            raise UsageError(f"no config.json in {path}; {REMEDY}")
        try:
            entries = json.loads(file.read_text("utf-8"))
            format, class_name = entries["format"], entries["class"]
            arguments, epsilon = dict(entries["generator"]), float(entries["epsilon"])
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UsageError(f"{file} does not describe a generator ({error}); {REMEDY}") from None
        if format != FORMAT:
            remedy = "train and export it again" if isinstance(format, int) and format < FORMAT else "update anti-i2v"
            raise UsageError(f"{path} has format {format!r} and this version reads format {FORMAT}; {remedy}")
        return GeneratorFolder(path, name or path.resolve().name, class_name, arguments, check_epsilon(epsilon), entries)

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(self.path)

    @property
    def card(self) -> str | None:
        """`README.md`, if there is one."""
        file = self.path / "README.md"
        return file.read_text("utf-8", "replace") if file.is_file() else None


def fingerprint(folder: Path) -> str:
    """16 hexadecimal digits that tell one generator's weights from all others; empty where there are none to read."""
    try:
        return hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()[:16]
    except OSError:
        return ""


def against_words(name: object) -> str:
    """What a generator was trained against, as its `config.json` names it, for people who do not know our folder names."""
    text = one_line(name, "a model that its folder does not name")
    return f"{text}, a small video model of rendered people" if text == "portrait-dit" else text


def one_line(value: object, unknown: str) -> str:
    """A fact of `config.json` on one line of a table; `unknown` where there is none."""
    if value is None or value == "" or value == []:
        return unknown
    text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
