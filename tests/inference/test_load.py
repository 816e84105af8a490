"""Which backend protects, and that the light one needs nothing heavy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anti_i2v.errors import UsageError
from anti_i2v.generators.hub import open_folder
from anti_i2v.inference import Backend, OnnxBackend, load_backend
from anti_i2v.inference.torch_backend import TorchBackend

ROOT = Path(__file__).resolve().parents[2]
WITHOUT_TORCH = """
import sys
from pathlib import Path

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "kornia", "timm", "torchvision", "safetensors"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refuse())
"""


def load(source: str | Path, name: str = "auto") -> Backend:
    return load_backend(open_folder(source), name)


@pytest.fixture
def without_onnx(tmp_path: Path, generator: Path) -> Path:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).symlink_to(generator / name)
    return tmp_path


def test_onnx_is_taken_where_it_can_be(without_onnx: Path, onnx_generator: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    assert isinstance(load(onnx_generator), OnnxBackend)
    assert isinstance(load(onnx_generator, "torch"), TorchBackend)
    assert isinstance(load(without_onnx), TorchBackend)
    with pytest.raises(UsageError, match=r"no model\.onnx"):
        load(without_onnx, "onnx")
    (without_onnx / "model.onnx").symlink_to(onnx_generator / "model.onnx")
    assert isinstance(load(without_onnx), TorchBackend)  # both networks are needed
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert isinstance(load(onnx_generator), TorchBackend)
    with pytest.raises(UsageError, match="--runtime onnx needs onnxruntime; pip install onnxruntime"):
        load(onnx_generator, "onnx")


def test_what_cannot_be_loaded_is_named(without_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="unknown backend 'jax'; choose auto, onnx or torch"):
        load(without_onnx, "jax")
    with pytest.raises(UsageError, match="no folder 'nowhere'"):
        load("nowhere")
    monkeypatch.setitem(sys.modules, "anti_i2v.inference.torch_backend", None)
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "anti_i2v.inference.torch_backend")
    with pytest.raises(UsageError, match=r"needs torch, which is not installed; pip install 'anti-i2v\[train\]'"):
        load(without_onnx)


def test_a_photo_is_protected_from_file_to_file_where_torch_is_not_installed(onnx_generator: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    Image.linear_gradient("L").convert("RGB").save(tmp_path / "photo.jpg")
    code = """
from anti_i2v.bulk.loading import one_pass
from anti_i2v.bulk.photo import protect_file
from anti_i2v.bulk.request import Request
folder = Path(sys.argv[1])
for output, format in (("out.png", "lossless"), ("out.jpg", "same")):
    request = Request((), folder, format, epsilon=4, max_delta_e=50)
    measurement = protect_file(one_pass(sys.argv[2]), folder / "photo.jpg", folder / output, request)
    print(measurement.steps, measurement.lossy)
"""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH + code, str(tmp_path), str(onnx_generator)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == "4.0 False"
    assert second.endswith("True")
    assert Image.open(tmp_path / "out.png").size == (256, 256)


def test_a_photo_gets_the_same_on_any_number_of_cores(onnx_generator: Path) -> None:
    pytest.importorskip("onnxruntime")
    code = """
import hashlib, sys
from PIL import Image
from anti_i2v import Protector

protect, gradient = Protector.from_pretrained(sys.argv[1], backend="onnx").protect, Image.radial_gradient("L").convert("RGB")
print(*(hashlib.sha256(protect(gradient.resize((size, 900))).tobytes()).hexdigest()[:8] for size in (64, 300, 1201)))
"""
    hashes = []
    for threads in "1", "2":
        # What NumPy multiplies matrices with differs with the processor; this kind is a common one whose sums depend on the threads.
        given = {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads, "OPENBLAS_CORETYPE": "HASWELL", "PYTHONPATH": str(ROOT)}
        call = [sys.executable, "-c", code, str(onnx_generator)]
        hashes.append(subprocess.run(call, capture_output=True, text=True, check=True, timeout=120, env={**os.environ, **given}).stdout)
    assert hashes[0] == hashes[1]


def test_torch_proposes_the_same_on_any_number_of_cores(generator: Path) -> None:
    """What comes after the proposal is NumPy, with either backend."""
    backend, threads = load(generator, "torch"), torch.get_num_threads()
    window, proposals = np.random.default_rng(0).random((3, backend.working_size, backend.working_size), dtype=np.float32), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            proposals.append(backend.propose(window, np.float32(8), np.ones(32, np.float32)))
    finally:
        torch.set_num_threads(threads)
    for name, values in proposals[0].items():
        np.testing.assert_array_equal(proposals[1][name], values)


def test_nothing_is_reported_to_the_makers_of_onnxruntime(onnx_generator: Path, tmp_path: Path) -> None:
    """Its official builds from 1.29 on do so by default, and leave an identity of the machine and a queue in the user's folders."""
    pytest.importorskip("onnxruntime")
    (tmp_path / "home").mkdir()
    Image.linear_gradient("L").save(tmp_path / "a.png")
    own = {name: str(tmp_path / "home") for name in ("HOME", "USERPROFILE", "TMPDIR", "TEMP", "XDG_CACHE_HOME", "LOCALAPPDATA")}
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"} | own
    command = [sys.executable, "-m", "anti_i2v", "protect", str(tmp_path / "a.png"), "--out", str(tmp_path / "out"), "--runtime", "onnx"]
    command += ["--generator", str(onnx_generator)]
    subprocess.run(command, env=environment, check=True, capture_output=True, cwd=ROOT)
    assert list((tmp_path / "home").rglob("*")) == []
