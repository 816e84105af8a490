"""Every test runs offline: a network name that gets looked up is a failure, not a download. What differs is told in short."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from anti_i2v.__main__ import main
from tests.tiny.generator import EPSILON, Protect, tiny_generator

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is kept between runs (encoded prompts) lies in a folder of the session, not in the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANTI_I2V_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Folders of files that should be the same: which are not. pytest's own comparison of their bytes takes longer than the suite."""
    if op != "==" or not (isinstance(left, dict) and isinstance(right, dict)):
        return None
    if not any(isinstance(value, bytes) for value in (*left.values(), *right.values())):
        return None
    apart = sorted(str(name) for name in left.keys() | right.keys() if left.get(name) != right.get(name))
    return [f"files of {len(left)} and of {len(right)} are the same", f"they differ in {', '.join(apart)}"]


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
