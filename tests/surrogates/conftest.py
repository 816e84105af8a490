"""One tiny pipeline folder a session, and surrogates over it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from anti_i2v.surrogates import Draw, Surrogate
from tests.tiny import FRAMES, tiny_world

os.environ.setdefault("HF_HUB_OFFLINE", "1")

HEIGHT, WIDTH = 32, 48  # not square, so that a swap of the two shows
STEPS = 6
PROMPT = "a dog runs"


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def surrogate(world: Path) -> Surrogate:
    return Surrogate.from_pretrained(str(world), ["blocks.1", "blocks.2"], HEIGHT, WIDTH, FRAMES, STEPS)


@pytest.fixture(scope="session")
def text(surrogate: Surrogate) -> dict[str, Tensor]:
    return surrogate.encode_text([PROMPT])


@pytest.fixture
def draw(surrogate: Surrogate) -> Draw:
    return surrogate.draw(2, torch.Generator().manual_seed(7))


@pytest.fixture
def photos() -> Tensor:
    """Two photos on the 8-bit grid."""
    return torch.randint(0, 256, (2, 3, HEIGHT, WIDTH), generator=torch.Generator().manual_seed(1)) / 255
