"""From a photo to its protected version without torch: a backend proposes parameters, `apply` turns them into pixels.

The backends agree within one 8-bit step. onnx starts ten times as fast and takes a quarter of the memory; torch stands beside it, runs on
GPUs and is what training uses.
"""

from __future__ import annotations

import importlib

from anti_i2v.errors import UsageError, needs_train
from anti_i2v.generators.folder import ONNX, SALIENCE_ONNX, GeneratorFolder
from anti_i2v.inference.apply import Backend, protect_photo
from anti_i2v.inference.onnx import OnnxBackend, disable_telemetry

__all__ = ["BACKENDS", "Backend", "OnnxBackend", "load_backend", "protect_photo"]

BACKENDS = ("auto", "onnx", "torch")


def load_backend(folder: GeneratorFolder, name: str = "auto") -> Backend:
    """Load what runs a generator.

    Args:
        folder: The generator.
        name: `onnx`, `torch`, or `auto`: onnx where onnxruntime is installed and the folder has a `model.onnx`, else torch.

    Raises:
        UsageError: The folder, or what is to run it, cannot be used.
    """
    if name not in BACKENDS:
        raise UsageError(f"unknown backend {name!r}; choose auto, onnx or torch")
    if name == "onnx" or (name == "auto" and _has_onnx(folder)):
        return OnnxBackend.from_folder(folder)
    with needs_train(f"protecting with {folder.name} in torch"):
        from anti_i2v.inference.torch_backend import TorchBackend, load_generator

        return TorchBackend(load_generator(folder))


def _has_onnx(folder: GeneratorFolder) -> bool:
    if not all((folder.path / name).is_file() for name in (ONNX, SALIENCE_ONNX)):
        return False
    disable_telemetry()
    try:
        importlib.import_module("onnxruntime")
    except ImportError:
        return False
    return True
