"""Small networks as folders: a config in plain types beside fp16 weights, each file complete or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from torch import nn

from anti_i2v import atomic


def write_network(network: nn.Module, config: Mapping[str, object], folder: str | Path) -> None:
    """Write `config.json` and `model.safetensors` (floating weights in fp16)."""
    from safetensors.torch import save

    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    state = {n: v.cpu().half() if v.is_floating_point() else v.cpu() for n, v in network.state_dict().items()}
    with atomic.write(path / "model.safetensors") as part:
        part.write_bytes(save({name: value.contiguous() for name, value in state.items()}))
    with atomic.write(path / "config.json") as part:
        part.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
