"""Small networks as folders: a config in plain types beside fp16 weights, each file complete or not at all."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from torch import nn


def write_network(network: nn.Module, config: Mapping[str, object], folder: str | Path) -> None:
    """Write `config.json` and `model.safetensors` (floating weights in fp16)."""
    from safetensors.torch import save_file

    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    state = {n: v.cpu().half() if v.is_floating_point() else v.cpu() for n, v in network.state_dict().items()}
    with tempfile.TemporaryDirectory(dir=path, prefix=".writing-") as temporary:
        weights, settings = Path(temporary) / "model.safetensors", Path(temporary) / "config.json"
        save_file({name: value.contiguous() for name, value in state.items()}, weights)
        settings.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        for file in (weights, settings):
            file.chmod(0o644)
            file.replace(path / file.name)
