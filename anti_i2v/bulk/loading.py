"""From a request to what protects its photos: a generator in a backend, or a per-photo attack."""

from __future__ import annotations

from dataclasses import dataclass, field

from PIL import Image

from anti_i2v.bulk.protector import PhotoProtector
from anti_i2v.bulk.request import Request
from anti_i2v.errors import UsageError, needs_train
from anti_i2v.generators.folder import DEFAULT_GENERATOR, GeneratorFolder, against_words
from anti_i2v.generators.hub import open_folder
from anti_i2v.inference import Backend, OnnxBackend, load_backend, protect_photo
from anti_i2v.keys import load_secret


@dataclass(frozen=True)
class OnePass:
    """A generator and a user's secret.

    Attributes:
        backend: What runs the generator.
        secret: From `keys.load_secret`; never shown.
    """

    backend: Backend
    secret: bytes = field(repr=False)

    def protect(self, photo: Image.Image, epsilon: float) -> Image.Image:
        """See `inference.protect_photo`."""
        return protect_photo(self.backend, photo, epsilon, self.secret)


def load_protector(request: Request) -> PhotoProtector:
    """What a request names: a generator's one pass, or a per-photo attack.

    Raises:
        UsageError: It cannot be loaded, or its own epsilon changes nothing.
    """
    if request.method is None:
        protector = one_pass(request.generator, request.runtime, request.device, request.key)
    else:
        from anti_i2v.bulk.per_photo import load_method

        protector = load_method(request.method, request.generator, request.device, request.quiet, request.key)
    if request.epsilon is None and protector.epsilon < 1:
        raise UsageError(
            f"{protector.name} is for epsilon {protector.epsilon:g}, which leaves no whole 8-bit step; give --epsilon, 1 or more"
        )
    return protector


def one_pass(generator: str | None = None, runtime: str = "auto", device: str | None = None, key: str | None = None) -> PhotoProtector:
    """A generator's one forward pass; the arguments are those of a `Request`.

    Raises:
        UsageError: It cannot be loaded, there is no such device, or the secret cannot be read or made.
    """
    folder = open_folder(generator or DEFAULT_GENERATOR)
    against = against_words(folder.entries.get("protects_against"))
    limits = (
        f"limits: this generator was trained against {against}. It does NOT protect against any production "
        "video model yet, and a determined adversary may remove a protection."
    )
    backend = _load(folder, runtime, device)
    light, shared = isinstance(backend, OnnxBackend), on_gpu(device)
    secret = load_secret(key)
    protect = OnePass(backend, secret).protect
    return PhotoProtector(protect, limits, folder.name, folder.fingerprint, light, shared, folder.epsilon, secret)


def _load(folder: GeneratorFolder, runtime: str, device: str | None) -> Backend:
    """A backend on its device."""
    if device is None:
        return load_backend(folder, runtime)
    if runtime == "onnx":
        raise UsageError(f"--device {device} is for torch; leave it out, or take --runtime torch")
    with needs_train(f"--device {device}"):
        from anti_i2v.inference.batching import BatchingBackend
        from anti_i2v.inference.torch_backend import TorchBackend, load_generator
    generator = load_generator(folder)
    try:
        generator.to(device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device {device}: {str(error).splitlines()[0]}; give cpu, or a device that is here") from None
    return BatchingBackend(generator) if on_gpu(device) else TorchBackend(generator)


def on_gpu(device: str | None) -> bool:
    """Whether `--device` names something else than the processor."""
    return device is not None and device.partition(":")[0] != "cpu"
