"""The backend without torch: `model.onnx` run by onnxruntime, which starts in a fraction of a second."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from anti_i2v.errors import UsageError
from anti_i2v.generators.folder import ONNX, ORIGIN, REMEDY, WEIGHTS, GeneratorFolder
from anti_i2v.imaging.cielab import Floats
from anti_i2v.spaces import SPACES

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


class OnnxBackend:
    """Runs a generator by onnxruntime, on the processor, with one thread.

    Args:
        session: The network, as `generators.onnx.export_onnx` writes it.

    Raises:
        UsageError: A network of another kind.
    """

    takes_key = False

    def __init__(self, session: InferenceSession) -> None:
        self.session = session
        inputs = {value.name: value.shape for value in session.get_inputs()}
        self.names = [value.name for value in session.get_outputs()]
        shape = inputs.get("image", [])
        if set(inputs) != {"image", "epsilon"} or not self.names or not set(self.names) <= set(SPACES) or len(shape) != 4:
            raise UsageError(f"{ONNX} is no generator of this project: its values are {', '.join([*inputs, *self.names])}; {REMEDY}")
        self.working_size = int(shape[2])

    def propose(self, photo: Floats, epsilon: np.float32, key: Floats | None = None) -> dict[str, Floats]:
        values = self.session.run(self.names, {"image": photo[None], "epsilon": np.array([epsilon])})
        return {name: value[0] for name, value in zip(self.names, values, strict=True)}

    @staticmethod
    def from_folder(folder: GeneratorFolder) -> OnnxBackend:
        """Load `model.onnx` of a generator folder.

        Raises:
            UsageError: It is missing, damaged, foreign or of other weights than those beside it, or onnxruntime is not installed.
        """
        path, weights = folder.path / ONNX, folder.path / WEIGHTS
        if not path.is_file():
            raise UsageError(f"no {ONNX} in {folder.path}; `anti-i2v export` writes one, and --runtime torch needs none")
        try:
            session = load_session(path.read_bytes(), weights.read_bytes() if weights.is_file() else b"")
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}; check its permissions") from None
        origin = session.get_modelmeta().custom_metadata_map.get(ORIGIN)
        if origin and folder.fingerprint and origin != folder.fingerprint:
            raise UsageError(f"{path} was made of other weights than those beside it; export the generator again, or take --runtime torch")
        return OnnxBackend(session)


def disable_telemetry() -> None:
    """What must come before onnxruntime is imported: its official builds from 1.29 on report to their maker unless this says no."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"


def load_session(content: bytes, weights: bytes = b"") -> InferenceSession:
    """A network and its weights in memory, so that no file beside them is ever read, whatever the network says.

    Args:
        content: Of `model.onnx`.
        weights: Of `model.safetensors`, the only file that the network may refer to.

    Raises:
        UsageError: onnxruntime is not installed, or this is no network.
    """
    disable_telemetry()
    try:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as errors
    except ImportError:
        raise UsageError("--runtime onnx needs onnxruntime; pip install onnxruntime, or take --runtime torch") from None
    options = onnxruntime.SessionOptions()
    options.use_deterministic_compute = True
    options.log_severity_level = 4  # what is wrong is raised
    options.intra_op_num_threads = 1  # two milliseconds of work, as fast as with more threads, which other processes may need
    options.add_external_initializers_from_files_in_memory([WEIGHTS], [weights], [len(weights)])
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except (errors.InvalidProtobuf, errors.InvalidGraph, errors.Fail, errors.InvalidArgument, errors.NotImplemented) as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"{ONNX} cannot be loaded ({reason}); get it again, or take --runtime torch") from None
