"""The environment of every test and of the processes it starts: offline, a cache of its own, one kind of processor.

A network name that gets looked up is a failure, not a download.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # there is a process for each processor already
# Where torch is set to do without AVX-512, the libraries it calls must be set too: attention in bfloat16 asks oneDNN for the
# processor and torch for the packing ("pack_vnni2 is only supported when avx512 is supported", github.com/pytorch/pytorch/pull/141453).
# Both are read once, so this stands before any import of torch.
if os.environ.get("ATEN_CPU_CAPABILITY") == "avx2":
    os.environ["ONEDNN_MAX_CPU_ISA"] = os.environ["MKL_ENABLE_INSTRUCTIONS"] = "AVX2"

from anti_i2v.__main__ import main
from tests.tiny.generator import EPSILON, Protect, tiny_generator, tiny_onnx


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """All tests: a process for each processor. Some of them: this process alone."""
    if config.args != config.getini("testpaths"):
        return 0
    return min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


@pytest.fixture(autouse=True, scope="session")
def _own_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is kept between runs (encoded prompts, a secret) lies in folders of the session, not in the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANTI_I2V_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))  # where a user's secret lies
        patch.setenv("APPDATA", str(tmp_path_factory.mktemp("appdata")))
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


@pytest.fixture(scope="session")
def onnx_generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generator folder with `model.onnx` and `salience.onnx`; its patterns follow the key."""
    pytest.importorskip("onnxscript")
    return tiny_onnx(tmp_path_factory.mktemp("generators") / "tiny-onnx", backbone="test_resnet", chroma_size=8, cutoff=8, keyed=True)


@pytest.fixture
def protect(generator: Path) -> Protect:
    """Run `protect` with that generator; returns the exit status."""

    def run(*arguments: object) -> int:
        chosen = [] if {"--epsilon", "--strength"} & set(arguments) else ["--epsilon", str(EPSILON)]
        return main(["protect", *map(str, arguments), "--generator", str(generator), *chosen])

    return run
