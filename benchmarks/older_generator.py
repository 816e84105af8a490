"""Make a generator folder of format 1, from this project's history, usable as an adversary: it paints in windows now, and has no key.

    python -m benchmarks.older_generator 266c0e7 runs/older-generator

The generator of that commit was the first of the identity objective: another seed, 1634 steps, whole photos, no adversary. No training of
today's generators has met it, and whoever has the history has it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path

import torch
from safetensors.torch import load

from anti_i2v.errors import UsageError
from anti_i2v.generators import BackboneGenerator
from anti_i2v.protector import Protector

OPEN = 20.0  # of the strength map before its sigmoid: format 1 painted at full strength everywhere

RENAMED = {"face_norm": "frozen_norm"}


def stored(commit: str, name: str) -> bytes:
    """A file of the shipped generator's folder at a commit.

    Raises:
        UsageError: There is no such commit or file here.
    """
    found = subprocess.run(["git", "show", f"{commit}:checkpoints/portrait-generator/{name}"], capture_output=True, check=False)
    if found.returncode:
        reason = found.stderr.decode(errors="replace").strip()
        raise UsageError(f"no {name} of portrait-generator at {commit} ({reason}); run this in a clone with its whole history")
    return found.stdout


def older_generator(commit: str) -> Protector:
    """The shipped generator of a commit before windows and keys."""
    config = json.loads(stored(commit, "config.json"))
    if config["format"] != 1:
        raise UsageError(f"the generator at {commit} has format {config['format']}, not 1; it can be loaded as it is")
    settings = {RENAMED.get(name, name): value for name, value in config["generator"].items()}
    generator = BackboneGenerator(**settings, keyed=False)
    weights = {name: value.float() for name, value in load(stored(commit, "model.safetensors")).items()}
    weights["strength_map.1.weight"], weights["strength_map.1.bias"] = torch.zeros(1, 32, 3, 3), torch.full((1,), OPEN)
    missing, unknown = generator.load_state_dict(weights, strict=False)
    if unknown or any(not name.startswith(("strength_map.", "salience.")) for name in missing):
        raise UsageError(f"the weights at {commit} are not those of such a network: without {missing}, with {unknown}")
    return Protector(generator.eval(), config["epsilon"])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit")
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    card = f"# {options.out.name}\n\nThe generator of commit {options.commit}, in windows.\n"
    older_generator(options.commit).save_pretrained(options.out, card=card)


if __name__ == "__main__":
    main()
