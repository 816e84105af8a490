"""What protects a photo, chosen by what is installed: `model.onnx` without torch, or the network in torch.

The two agree within one 8-bit step. onnxruntime starts ten times as fast and takes a quarter of the memory; torch runs on GPUs and is
what training uses. To protect photos without torch on the machine:

    pip install --no-deps anti-i2v
    pip install numpy pillow onnxruntime tqdm
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from anti_i2v.errors import UsageError
from anti_i2v.generators.folder import DEFAULT_GENERATOR
from anti_i2v.generators.hub import resolve

if TYPE_CHECKING:
    from PIL import Image

RUNTIMES = ("auto", "torch", "onnx")


class Runtime(Protocol):
    """What protects photos: a `Protector` or an `OnnxProtector`."""

    epsilon: float

    def protect(self, photo: Image.Image, epsilon: float | None = None) -> Image.Image:
        """See `Protector.protect`."""


def load(source: str | Path = DEFAULT_GENERATOR, runtime: str = "auto", revision: str | None = None) -> Runtime:
    """Load a generator folder into a runtime.

    Args:
        source: The folder, the name of one that ships, or a hub id; see `hub.resolve`.
        runtime: `onnx`, `torch`, or `auto`: onnx where onnxruntime is installed and the folder has a `model.onnx`, else torch.
        revision: Branch, tag or commit of a hub id.

    Raises:
        UsageError: The folder, or what is to run it, cannot be used.
    """
    if runtime not in RUNTIMES:
        raise UsageError(f"runtime {runtime!r} is none; choose one of {', '.join(RUNTIMES)}")
    folder = resolve(source, revision)
    if runtime == "onnx" or (runtime == "auto" and _has_onnx(folder)):
        from anti_i2v.inference.onnx import OnnxProtector

        return OnnxProtector.from_pretrained(folder)
    try:
        import torch  # noqa: F401
    except ImportError:
        raise UsageError(f"{source} needs torch here; pip install torch, or onnxruntime if it has a model.onnx") from None
    from anti_i2v.protector import Protector

    return Protector.from_pretrained(folder).eval()


def _has_onnx(folder: Path) -> bool:
    if not (folder / "model.onnx").is_file():
        return False
    from anti_i2v.inference.onnx import keep_to_itself

    keep_to_itself()
    try:
        importlib.import_module("onnxruntime")
    except ImportError:
        return False
    return True
