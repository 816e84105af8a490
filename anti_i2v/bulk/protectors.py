"""What protects a photo in this call, what is said of its limits, and how its files are marked."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from anti_i2v import __version__
from anti_i2v.bulk.request import Request
from anti_i2v.errors import UsageError
from anti_i2v.generators.folder import DEFAULT_GENERATOR, against_words, fingerprint
from anti_i2v.generators.hub import hub_id, resolve
from anti_i2v.imaging.metadata.statements import Mark
from anti_i2v.inference import Runtime, load
from anti_i2v.inference.onnx import OnnxProtector

Protect = Callable[[Image.Image, float], Image.Image]
"""What makes a protected photo of a photo and an epsilon, such as `Protector.protect`."""


@dataclass(frozen=True)
class PhotoProtector:
    """What protects photos.

    Attributes:
        protect: What makes a protected photo of a photo.
        limits: A line for people.
        name: Of the generator or method.
        weights: Hash of the generator's weights; empty for a method without any.
        light: Whether it starts fast and takes little memory, so that several processes of it pay.
        shared: Whether several threads may call `protect` at once, and should: it is on a GPU.
        epsilon: Budget where nobody says one, in 1/255 steps.
    """

    protect: Protect
    limits: str
    name: str
    weights: str = ""
    light: bool = False
    shared: bool = False
    epsilon: float = 8.0

    def mark(self, epsilon: float) -> Mark:
        """What protected files say about themselves."""
        return Mark(self.name, epsilon, self.weights, __version__)


def load_protector(request: Request) -> PhotoProtector:
    """What a request names: a generator's one pass, or a per-photo attack.

    Raises:
        UsageError: It cannot be loaded, or its own epsilon changes nothing.
    """
    if request.method is None:
        protector = one_pass(request.generator, request.runtime, request.device)
    else:
        from anti_i2v.bulk.per_photo import load_method

        protector = load_method(request.method, request.generator, request.device, request.quiet)
    if request.epsilon is None and protector.epsilon < 1:
        raise UsageError(
            f"{protector.name} is for epsilon {protector.epsilon:g}, which leaves no whole 8-bit step; give --epsilon, 1 or more"
        )
    return protector


def one_pass(generator: str | None = None, runtime: str = "auto", device: str | None = None) -> PhotoProtector:
    """A generator's one forward pass.

    Args:
        generator: Folder, the name of one that ships, or a hub id; the default one if None.
        runtime: One of `inference.RUNTIMES`.
        device: For torch; its name for a GPU, or None for the CPU.

    Raises:
        UsageError: It cannot be loaded, or there is no such device.
    """
    named = hub_id(generator or DEFAULT_GENERATOR)
    folder = resolve(generator or DEFAULT_GENERATOR)
    against = against_words(about(folder).get("protects_against"))
    limits = (
        f"limits: this generator was trained against {against}. It does NOT protect against any production "
        "video model yet, and a determined adversary may remove a protection."
    )
    name = named[0] if named else folder.resolve().name
    protector = _loaded(folder, runtime, device)
    light, shared = isinstance(protector, OnnxProtector), on_gpu(device)
    return PhotoProtector(protector.protect, limits, name, fingerprint(folder), light, shared, protector.epsilon)


def _loaded(folder: Path, runtime: str, device: str | None) -> Runtime:
    """A protector on its device."""
    if device is None:
        return load(folder, runtime)
    if runtime == "onnx":
        raise UsageError(f"--device {device} is for torch; leave it out, or take --runtime torch")
    protector = load(folder, "torch")
    try:
        protector.to(device)  # type: ignore[attr-defined]  # of torch, it is a `Protector`
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device {device}: {str(error).splitlines()[0]}; give cpu, or a device that is here") from None
    if not on_gpu(device):
        return protector
    from anti_i2v.inference.batching import BatchingProtector

    return BatchingProtector(protector)  # type: ignore[arg-type]


def on_gpu(device: str | None) -> bool:
    """Whether `--device` names something else than the processor."""
    return device is not None and device.partition(":")[0] != "cpu"


def about(folder: Path) -> dict[str, object]:
    """What the generator's `config.json` says; nothing if nobody can read it."""
    try:
        stated = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return stated if isinstance(stated, dict) else {}
