"""Models that several benchmarks are run on; no test changes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny import tiny_portrait_dit
from tests.tiny.judges import write_judges
from tests.tiny.unet import tiny_portrait_unet


@pytest.fixture(scope="session")
def wan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline folder with a transformer."""
    return tiny_portrait_dit(tmp_path_factory.mktemp("wan"))


@pytest.fixture(scope="session")
def unet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline folder with a U-Net."""
    return tiny_portrait_unet(tmp_path_factory.mktemp("unet"))


@pytest.fixture(scope="session")
def judges(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options that name an untrained judge of identity and an untrained classifier of actions."""
    identity, actions = write_judges(tmp_path_factory.mktemp("judges"))
    return ["--judge", str(identity), "--actions", str(actions)]
