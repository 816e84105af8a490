"""What tests of the commands share: a generator with random weights, and the command line with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from anti_i2v.__main__ import main
from tests.tiny_generator import EPSILON, Protect, tiny_generator


@pytest.fixture(scope="session")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generator folder with random weights."""
    return tiny_generator(tmp_path_factory.mktemp("generators") / "tiny")


@pytest.fixture
def protect(generator: Path) -> Protect:
    """Run `protect` with that generator; returns the exit status."""

    def run(*arguments: object) -> int:
        chosen = [] if {"--epsilon", "--strength"} & set(arguments) else ["--epsilon", str(EPSILON)]
        return main(["protect", *map(str, arguments), "--generator", str(generator), *chosen])

    return run
