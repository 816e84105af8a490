"""Photo → protected photo by `model.onnx`, with onnxruntime, NumPy and Pillow: starts in half a second, needs no torch.

Its results are within one 8-bit step of `Protector.protect`'s, and nearly all pixels are the same.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from anti_i2v.epsilon import check_epsilon, no_more_than
from anti_i2v.errors import UsageError
from anti_i2v.generators.folder import DEFAULT_GENERATOR, REMEDY, WEIGHTS, describe, fingerprint
from anti_i2v.generators.hub import resolve
from anti_i2v.imaging.cielab import Floats
from anti_i2v.inference import planes
from anti_i2v.inference.blocks import Steps
from anti_i2v.inference.budget import whole_steps
from anti_i2v.inference.resizing import shrunk
from anti_i2v.inference.spaces import fields, residual

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

FILE = "model.onnx"
CHANNELS = {"rgb": 3, "lab": 2, "frequency": 3}
STRIP = 2**16  # pixels done at once: what they need stays within the cache


class OnnxProtector:
    """Protects photos as `Protector` does, by another runtime.

    Args:
        session: The network, as `generators.onnx.export_onnx` writes it.
        epsilon: Budget when a call gives none, in 1/255 steps.

    Raises:
        UsageError: Epsilon outside 0–32, or a network of another kind.
    """

    def __init__(self, session: InferenceSession, epsilon: float = 8.0) -> None:
        self.session = session
        self.epsilon = check_epsilon(epsilon)
        inputs = {value.name: value.shape for value in session.get_inputs()}
        self.names = [value.name for value in session.get_outputs()]
        shape = inputs.get("image", [])
        if set(inputs) != {"image", "epsilon"} or not self.names or not set(self.names) <= set(CHANNELS) or len(shape) != 4:
            raise UsageError(f"{FILE} is no generator of this project: its values are {', '.join([*inputs, *self.names])}; {REMEDY}")
        self.working_size = int(shape[2])

    def protect(self, photo: Image.Image, epsilon: float | None = None) -> Image.Image:
        """Protect one photo, with the contract of `Protector.protect`.

        Args:
            photo: Any size from 1 × 1 and any mode with a defined range.
            epsilon: Budget in 1/255 steps; the protector's own by default. 0 gives the photo back.

        Returns:
            A new picture; `photo` is unchanged.

        Raises:
            UsageError: Epsilon outside 0–32, a mode without a defined range, or a generator that yields no numbers.
        """
        strength = check_epsilon(self.epsilon if epsilon is None else epsilon)
        return planes.protected(photo, lambda colour, stored: self.steps(colour, stored, strength))

    def steps(self, colour: planes.Pixels, stored: planes.Pixels, epsilon: float) -> Steps:
        """What the bytes of a photo move by; see `Protector.steps`."""
        height, width, bands = stored.shape
        budget = no_more_than(epsilon)
        drawn = fields(self.propose(shrunk(colour, self.working_size), budget), height, width)
        steps = np.empty(stored.shape, np.int8)
        rows = max(1, STRIP // width)
        for top in range(0, height, rows):
            strip = slice(top, top + rows)
            moved = residual(colour[strip], drawn, budget, top)
            if bands == 1:
                moved = moved.mean(0, keepdims=True)
            steps[strip] = np.moveaxis(whole_steps(np.moveaxis(stored[strip], 2, 0), moved, budget), 0, 2)
        return steps

    def propose(self, image: Floats, epsilon: np.float32) -> dict[str, Floats]:
        """What the network says of one photo at its working size: (3, S, S) in [0, 1] → parameters by space; no batch axis anywhere.

        Raises:
            UsageError: They are not numbers.
        """
        given = {"image": image[None], "epsilon": np.array([epsilon])}
        found = {name: values[0] for name, values in zip(self.names, self.session.run(self.names, given), strict=True)}
        if not all(np.isfinite(values).all() for values in found.values()):
            raise UsageError("the generator yields values that are not finite; its weights are damaged, get them again")
        return found

    @staticmethod
    def from_pretrained(source: str | Path = DEFAULT_GENERATOR, revision: str | None = None) -> OnnxProtector:
        """Load a generator folder, with the arguments of `Protector.from_pretrained`.

        Raises:
            UsageError: No such folder, its config.json or model.onnx is missing, foreign or damaged, or onnxruntime is not installed.
        """
        folder = resolve(source, revision)
        epsilon = describe(folder).epsilon
        path = folder / FILE
        if not path.is_file():
            raise UsageError(f"no {FILE} in {folder}; `anti-i2v export` with anti-i2v[onnx] writes one, and --runtime torch needs none")
        try:
            session = _session(path.read_bytes())
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}; check its permissions") from None
        made_of, own = session.get_modelmeta().custom_metadata_map.get(WEIGHTS), fingerprint(folder)
        if made_of and own and made_of != own:
            raise UsageError(f"{path} was made of other weights than those beside it; export the generator again, or take --runtime torch")
        return OnnxProtector(session, epsilon)


def keep_to_itself() -> None:
    """What must come before onnxruntime is imported: its official builds from 1.29 on report to their maker unless this says no."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"


def _session(content: bytes) -> InferenceSession:
    """A network in memory, so that no file beside it is ever read, whatever it says.

    Raises:
        UsageError: onnxruntime is not installed, or this is no network.
    """
    keep_to_itself()
    try:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as errors
    except ImportError:
        raise UsageError("--runtime onnx needs onnxruntime; pip install onnxruntime, or take --runtime torch") from None
    options = onnxruntime.SessionOptions()
    options.use_deterministic_compute = True
    options.log_severity_level = 4  # what is wrong is raised
    options.intra_op_num_threads = 1  # two milliseconds of work, as fast as with more threads, which other processes may need
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except (errors.InvalidProtobuf, errors.InvalidGraph, errors.Fail, errors.InvalidArgument, errors.NotImplemented) as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"{FILE} cannot be loaded ({reason}); get it again, or take --runtime torch") from None
