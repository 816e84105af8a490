"""What `anti-i2v protect` needs for a per-photo method: a video model, a method, and the generator it may begin from."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from anti_i2v.attacks.methods import NAMES, named_method
from anti_i2v.attacks.photo import PhotoMethod, PhotoNoise
from anti_i2v.bulk.backends import Way
from anti_i2v.errors import UsageError
from anti_i2v.protector import DEFAULT_GENERATOR, Protector
from anti_i2v.surrogates import Surrogate
from anti_i2v.surrogates.draw import PHOTO

SIZES = {"portrait-dit": (128, 128, 9), "portrait-unet": (64, 64, 9)}
"""Shipped surrogate → height, width and frames that it was trained on."""

PROMPT = "a person talks to the camera"
"""What a video model is asked for unless the user says: what an adversary will ask for is not known."""


def per_photo(options: argparse.Namespace, given: Sequence[str]) -> Way:
    """One method for each photo.

    Args:
        options: Of `protect`.
        given: Names of those about per-photo methods that the user gave.

    Raises:
        UsageError: They do not fit together, or the surrogate cannot be loaded.
    """
    _check(options, given)
    seed = options.seed or 0
    if options.method == "noise":
        protector = Protector.from_pretrained(options.generator or DEFAULT_GENERATOR).eval()
        limits = "limits: noise as strong as a protection protects nothing; it is there to compare with."
        return Way(PhotoNoise(protector, seed).protect, limits, "noise")
    refining, prompt = options.refine is not None, PROMPT if options.prompt is None else options.prompt
    begin = Protector.from_pretrained(options.generator or DEFAULT_GENERATOR).eval() if refining else None
    surrogate = _load(options, prompt)
    name = options.method or "identity"
    method = named_method(name, surrogate, tuple(options.taps.split(",")) if options.taps else ())
    surrogate.with_taps(method.taps).keep_features_only()
    steps = options.refine if refining else method.steps if options.steps is None else options.steps
    text, label = surrogate.encode_text([prompt]), None if options.quiet else "steps"
    against = f"this was optimised against {options.surrogate} alone" if steps else "this is one pass of the generator, and no step"
    limits = (
        f"limits: {against}. It does NOT protect against any production video model "
        "yet, and a determined adversary may remove a protection."
    )
    return Way(PhotoMethod(method, surrogate, text, steps, seed, begin, label).protect, limits, name)


def _check(options: argparse.Namespace, given: Sequence[str]) -> None:
    """Refuse options that do not go together, before anything is loaded."""
    named = {name: f"--{name.replace('_', '-')}" for name in given}
    if options.method is not None and options.method not in NAMES:
        raise UsageError(f"no method {options.method!r}; --method takes {', '.join(NAMES)}")
    for name in ("steps", "refine"):
        if (value := getattr(options, name)) is not None and value < 0:
            raise UsageError(f"--{name} is {value}; give 0 or more")
    if options.seed is not None and not 0 <= options.seed < 2**63:
        raise UsageError(f"--seed is {options.seed}; give a whole number from 0 to {2**63 - 1}")
    if options.method is None and options.refine is None:
        raise UsageError(f"{named[given[0]]} does nothing alone; add --method to optimise each photo, or --refine K to improve one pass")
    if options.method == "noise":
        if others := [word for name, word in named.items() if name not in ("method", "seed")]:
            raise UsageError(f"--method noise asks no video model; leave out {', '.join(others)}")
        return
    if options.surrogate is None:
        used = named["method" if options.refine is None else "refine"]
        raise UsageError(f"{used} optimises against a video model; name one with --surrogate, such as portrait-dit")
    if options.refine is not None and options.steps is not None:
        raise UsageError(f"--refine {options.refine} says how many steps; leave out --steps {options.steps}")
    if options.refine is None and options.generator is not None:
        raise UsageError(f"--method alone begins at random, without --generator {options.generator}; add --refine K to begin there")


def _load(options: argparse.Namespace, prompt: str) -> Surrogate:
    """The surrogate on its device, with the prompt encoded."""
    import diffusers
    import torch
    import transformers

    known = SIZES.get(Path(options.surrogate).name, (None, None, None))
    asked = (options.height, options.width, options.num_frames)
    height, width, frames = (default if value is None else value for value, default in zip(asked, known, strict=True))
    if height is None or width is None or frames is None:
        raise UsageError(f"{options.surrogate} is no shipped video model; say --height, --width and --num-frames of its clips")
    if options.quiet:
        for library in (diffusers, transformers):
            library.utils.logging.disable_progress_bar()
    surrogate = Surrogate.from_pretrained(options.surrogate, [PHOTO], height, width, frames, prompts=[prompt])
    try:
        return surrogate.to(torch.device(options.device or "cpu"))
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device {options.device}: {str(error).splitlines()[0]}; give cpu, or a device that is here") from None
