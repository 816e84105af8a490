"""What a generator folder says about itself, readable without torch: `config.json` beside the weights of each runtime."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from anti_i2v.errors import UsageError

DEFAULT_GENERATOR = "portrait-generator"
FORMAT = 1
WEIGHTS = "weights"  # what `model.onnx` calls the fingerprint of the weights that it was made of
REMEDY = "give a folder that `anti-i2v export` wrote"


@dataclass(frozen=True)
class Description:
    """The part of `config.json` that is needed to protect a photo.

    Attributes:
        name: Of the generator's class.
        arguments: Of its constructor.
        epsilon: Budget when a call gives none, in 1/255 steps.
    """

    name: str
    arguments: dict[str, str | int | float]
    epsilon: float


def describe(folder: Path) -> Description:
    """Read `config.json`.

    Raises:
        UsageError: It is missing, damaged or of another format.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise UsageError(f"no config.json in {folder}; {REMEDY}")
    try:
        config = json.loads(path.read_text("utf-8"))
        found, name = config["format"], config["class"]
        arguments, epsilon = dict(config["generator"]), float(config["epsilon"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UsageError(f"{path} does not describe a generator ({error}); {REMEDY}") from None
    if found != FORMAT:
        raise UsageError(f"{folder} has format {found!r} and this version reads {FORMAT}; update anti-i2v")
    return Description(name, arguments, epsilon)


def fingerprint(folder: Path) -> str:
    """16 hexadecimal digits that tell one generator's weights from all others; empty where there are none to read."""
    try:
        return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()[:16]
    except OSError:
        return ""


def against_words(name: object) -> str:
    """What a generator was trained against, as its `config.json` names it, for people who do not know our folder names."""
    named = one_line(name, "a model that its folder does not name")
    return f"{named}, the embedded world of rendered portraits" if named == "portrait-dit" else named


def one_line(value: object, unknown: str) -> str:
    """A fact of `config.json` on one line of a table; `unknown` where there is none."""
    if value is None or value == "" or value == []:
        return unknown
    text = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
