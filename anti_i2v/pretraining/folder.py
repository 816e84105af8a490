"""Writing one network of diffusers or transformers as a folder."""

from __future__ import annotations

import copy
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from diffusers import ModelMixin


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
