"""What `anti-i2v protect` needs for a per-photo attack: a video model, the attack, and the generator it may begin from."""

from __future__ import annotations

from pathlib import Path

from anti_i2v.attacks.methods import NAMES, named_method
from anti_i2v.attacks.photo import PhotoMethod, PhotoNoise
from anti_i2v.bulk.protector import PhotoProtector
from anti_i2v.bulk.request import MethodRequest
from anti_i2v.errors import UsageError
from anti_i2v.keys import PUBLIC_KEY, load_secret
from anti_i2v.protector import DEFAULT_GENERATOR, Protector
from anti_i2v.surrogates import Surrogate
from anti_i2v.surrogates.autoencoders.source import find_autoencoder
from anti_i2v.surrogates.draw import PHOTO

SIZES = {"portrait-dit": (128, 128, 9), "portrait-unet": (64, 64, 9)}
"""Shipped surrogate → height, width and frames that it was trained on."""

PROMPT = "a person talks to the camera"
"""What a video model is asked for unless the user says: what an adversary will ask for is not known."""


def load_method(request: MethodRequest, generator: str | None, device: str | None, quiet: bool, key: str | None = None) -> PhotoProtector:
    """One attack for each photo.

    Args:
        request: Which attack, and against what.
        generator: What noise is as strong as, and where `refine` begins; the default one if None.
        device: Of the video model; None for the CPU.
        quiet: Show no progress of steps.
        key: Of the generator where `refine` begins; see `Request`.

    Raises:
        UsageError: No such method, or the surrogate or the key cannot be loaded.
    """
    if request.method is not None and request.method not in NAMES:
        raise UsageError(f"no method {request.method!r}; --method takes {', '.join(NAMES)}")
    seed, refining = request.seed or 0, request.refine is not None
    secret = load_secret(key) if refining else PUBLIC_KEY  # what is wrong with it is said now, and not for each photo
    is_noise = request.method == "noise"
    protector = Protector.from_pretrained(generator or DEFAULT_GENERATOR, backend="torch") if is_noise or refining else None
    if is_noise and protector is not None:
        limits = "limits: noise as strong as a protection protects nothing; it is there to compare with."
        return PhotoProtector(PhotoNoise(protector, seed).protect, limits, "noise")
    prompt = PROMPT if request.prompt is None else request.prompt
    surrogate = _load_surrogate(request, prompt, device, quiet)
    name = request.method or "identity"
    method = named_method(name, surrogate, tuple(request.taps.split(",")) if request.taps else ())
    surrogate.with_taps(method.taps).keep_features_only()
    steps = next(value for value in (request.refine, request.steps, method.steps) if value is not None)
    text, label = surrogate.encode_text([prompt]), None if quiet else "steps"
    against = f"this was optimised against {request.surrogate} alone" if steps else "this is one pass of the generator, and no step"
    limits = (
        f"limits: {against}. It does NOT protect against any production video model "
        "yet, and a determined adversary may remove a protection."
    )
    protect = PhotoMethod(method, surrogate, text, steps, seed, protector, label, key).protect
    return PhotoProtector(protect, limits, name, secret=secret)


def _load_surrogate(request: MethodRequest, prompt: str, device: str | None, quiet: bool) -> Surrogate:
    """The surrogate on its device, with the prompt encoded."""
    import diffusers
    import torch
    import transformers

    source = str(request.surrogate)
    defaults = SIZES.get(Path(source).name, (None, None, None))
    sizes = (request.height, request.width, request.num_frames)
    height, width, frames = (default if value is None else value for value, default in zip(sizes, defaults, strict=True))
    if frames is None and find_autoencoder(source) is not None:
        frames = 1  # it makes no clips
    if height is None or width is None or frames is None:
        known = f"{source!r} is neither {' nor '.join(SIZES)}, whose sizes are known"
        raise UsageError(f"{known}; say --height, --width and, unless it is an autoencoder alone, --num-frames")
    if quiet:
        for library in (diffusers, transformers):
            library.utils.logging.disable_progress_bar()
    surrogate = Surrogate.from_pretrained(source, [PHOTO], height, width, frames, prompts=[prompt])
    try:
        return surrogate.to(torch.device(device or "cpu"))
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device {device}: {str(error).splitlines()[0]}; give cpu, or a device that is here") from None
