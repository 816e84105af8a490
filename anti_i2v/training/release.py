"""From a training checkpoint to a generator folder: the weights that users get, and the card that says what they are.

The checkpoint is read with `weights_only=True`: a file from a stranger can hold numbers and plain types, no code.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from anti_i2v import generators
from anti_i2v.errors import UsageError
from anti_i2v.generators import Generator
from anti_i2v.generators.folder import against_words as against_words
from anti_i2v.generators.folder import one_line
from anti_i2v.generators.hub import with_metadata
from anti_i2v.protector import Protector

KEY = "anti_i2v"
UNKNOWN = "not measured"


@dataclass(frozen=True)
class Checkpoint:
    """What a training checkpoint says about its generator."""

    generator: Generator
    epsilon: float
    is_average: bool  # the weights are the moving average
    facts: dict[str, object]  # everything else under `KEY`, plain types


def export_checkpoint(path: Path, folder: Path, config: Path | None = None) -> Checkpoint:
    """Write the generator of a checkpoint as a generator folder, complete or not at all.

    Args:
        path: A Lightning checkpoint of `ProtectionModule`.
        folder: Where to write `config.json`, `model.safetensors` and `README.md`.
        config: The run's YAML file, quoted in the card.

    Raises:
        UsageError: One of the files cannot be used.
    """
    checkpoint = read_checkpoint(path)
    try:
        recipe = config.read_text(encoding="utf-8") if config else ""
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read --config {config}: {error}; give the run's config.yaml") from None
    card = model_card(folder.resolve().name, checkpoint, recipe)
    protector = Protector(checkpoint.generator, checkpoint.epsilon)
    protector.save_pretrained(folder, card=card, extra=dict(checkpoint.facts))
    return checkpoint


def read_checkpoint(path: Path) -> Checkpoint:
    """The generator of a training checkpoint, its moving average if there is one.

    Raises:
        UsageError: No such file, not a checkpoint, or not one of this project.
    """
    if not path.is_file():
        raise UsageError(f"no checkpoint {path}; a run keeps its own under its log folder, in checkpoints/")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about pickle protocols of foreign files, refused below
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        first = (str(error).strip().splitlines() or ["damaged"])[0]
        raise UsageError(f"cannot read checkpoint {path}: {first[:160]}; give a .ckpt that train.py wrote") from None
    if not isinstance(content, dict) or not isinstance(content.get(KEY), dict) or "state_dict" not in content:
        raise UsageError(f"{path} holds no generator of this project; give a checkpoint of `train.py fit`")
    facts = cast(dict[str, object], dict(content[KEY]))
    network, epsilon = facts.pop("generator", None), facts.pop("epsilon", 8.0)
    if not isinstance(network, dict) or not isinstance(epsilon, (int, float)):
        raise UsageError(f"{path} does not say which generator it holds; write it again with this version")
    weights = cast(dict[str, Tensor], content["state_dict"])
    state, is_average = _weights(weights)
    name, arguments = network.get("class"), network.get("config")
    if name not in generators.__all__ or name == "Generator" or not isinstance(arguments, dict):
        raise UsageError(f"{path} asks for the generator class {name!r}, which this version does not have; update it")
    try:
        generator: Generator = getattr(generators, name)(**arguments)
        generator.load_state_dict(state)
    except (RuntimeError, TypeError) as error:
        raise UsageError(f"the weights in {path} do not fit its generator: {str(error).splitlines()[-1].strip()}") from None
    for key in ("epoch", "global_step"):
        if key in content:
            facts.setdefault(key, content[key])
    return Checkpoint(generator.eval(), float(epsilon), is_average, facts)


def _weights(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], bool]:
    """The generator's own entries, the moving average if it is there."""
    for prefix in ("ema.module.", "ema."):  # the first is how torch's AveragedModel names them
        average = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        if average:
            return average, True
    return {k.removeprefix("generator."): v for k, v in state.items() if k.startswith("generator.")}, False


def model_card(name: str, checkpoint: Checkpoint, recipe: str = "") -> str:
    """The README of a generator folder, in Markdown, with the metadata by which the hub files it.

    Args:
        name: The folder's name.
        checkpoint: What is known; what is not known is said to be so.
        recipe: The run's YAML, or nothing.
    """
    facts = checkpoint.facts
    weights = sum(p.numel() for p in checkpoint.generator.parameters())
    against = against_words(facts.get("protects_against"))
    rows = {
        "Protects against": against,
        "Surrogates": one_line(facts.get("surrogates") or facts.get("surrogate"), "not stated"),
        "Input of the surrogate": one_line(facts.get("size"), "not stated"),
        "Taps": one_line(facts.get("taps"), "not stated"),
        "Objective": one_line(facts.get("objective"), "not stated"),
        "Identity embedders it was trained against": one_line(facts.get("embedders"), "not stated"),
        "Budget": f"L∞ epsilon, default {checkpoint.epsilon:g}, in 1/255 steps of the 8-bit pixel, hard",
        "Network": f"{type(checkpoint.generator).__name__}, {weights / 1e6:.2f} M weights",
        "Weights": "exponential moving average" if checkpoint.is_average else "last training step",
        "Training steps": one_line(facts.get("global_step"), "not stated"),
        "Seed": one_line(facts.get("seed"), "not stated"),
        "Commit": one_line(facts.get("commit"), "not stated"),
    }
    table = "\n".join(f"| {key} | {value} |" for key, value in rows.items())
    recipe_section = f"\n## Training configuration\n\n```yaml\n{recipe.strip()}\n```\n" if recipe.strip() else ""
    return with_metadata(f"""# {name}

A generator for `anti-i2v`: it protects a photo against being animated, in one forward pass, without a video model.

```
anti-i2v protect PHOTO --out protected --generator {name}
```

| | |
| --- | --- |
{table}

## Measured

{_metrics(facts.get("metrics"))}

## Limits

* It was trained against {against}. It does **not** protect against any production video model yet.
* The bound holds in lossless files. JPEG, resizing and other purifiers weaken a protection; an adversary who knows
  of it may remove it.
* It is no substitute for keeping a photo private.
{recipe_section}""")


def _metrics(metrics: object) -> str:
    """A table of figures, or that there are none."""
    if not isinstance(metrics, Mapping) or not metrics:
        return f"Change of generated videos: {UNKNOWN}. After JPEG or resizing: {UNKNOWN}. PSNR and ΔE2000: {UNKNOWN}."
    rows = (f"| {key} | {f'{value:.4g}' if isinstance(value, float) else value} |" for key, value in metrics.items())
    return "| measure | value |\n| --- | --- |\n" + "\n".join(rows)
