"""The one exception that means "the user can correct this": commands print its message as one line and exit with status 2.

And its warning, of which they print a line and go on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

TRAIN = frozenset(
    """accelerate diffusers einops ftfy jsonargparse kornia lightning onnx onnxscript safetensors tensorboard timm tokenizers torch
    torchmetrics torchvision transformers webdataset yaml huggingface_hub""".split()  # noqa: SIM905
)
"""Packages that come with `anti-i2v[train]` and not with `anti-i2v`."""
CONTROL = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\u202a-\\u202e\\u2066-\\u2069]")


class UsageError(ValueError):
    """An input, path or setting that cannot be used; the message names the value and the remedy."""


class UsageWarning(UserWarning):
    """Something that works and should be corrected all the same; the message names the value and the remedy."""


@contextmanager
def needs_train(what: str) -> Iterator[None]:
    """Say in one line what to install where a package of `anti-i2v[train]` is missing.

    Args:
        what: Subject of the message: what needs the package.

    Raises:
        UsageError: The block imports such a package, and it is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in TRAIN:
            raise
        raise UsageError(f"{what} needs {package}, which is not installed; pip install 'anti-i2v[train]'") from None


def printable(line: str) -> str:
    """A line without characters that end it, turn it round or command a terminal, which the name of a file may hold."""
    return CONTROL.sub(lambda match: ascii(match[0])[1:-1], line)
