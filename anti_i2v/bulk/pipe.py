"""One photo through standard input and output: `anti-i2v protect - --out - < a.jpg > b.png`."""

from __future__ import annotations

import sys
from pathlib import Path

from anti_i2v.bulk.jobs import output_suffix
from anti_i2v.bulk.photo import Protect, Task, protect_bytes, reason
from anti_i2v.errors import UsageError
from anti_i2v.imaging import containers
from anti_i2v.imaging.measure import Measured
from anti_i2v.imaging.reading import PHOTO_SUFFIXES

STANDARD = Path("-")
SUFFIXES = {"JPEG": ".jpg", "TIFF": ".tif", "JPEG2000": ".jp2", "HEIF": ".heic"}  # where it is not the format's name


def protect_pipe(protect: Protect, source: Path, task: Task) -> Measured:
    """Protect a photo, written to standard output when it is complete.

    Args:
        protect: What makes a protected photo of a photo.
        source: Its file, or `-` for standard input.
        task: What is asked for.

    Raises:
        UsageError: It cannot be read or protected, or standard output is a terminal.
    """
    if sys.stdout.isatty():
        raise UsageError("--out - writes a picture, and standard output is a terminal; add `> FILE`")
    try:
        content = sys.stdin.buffer.read() if source == STANDARD else source.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {source}: {error.strerror}; check the path") from None
    called = "standard input" if source == STANDARD else str(source)
    try:
        data, measured = protect_bytes(protect, content, called, output_suffix(suffix_of(content), task.format), task)
    except UsageError:
        raise
    except Exception as error:  # encoders meet what they cannot do with whatever comes to hand
        raise UsageError(f"{called}: {reason(error)}") from None
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UsageError(f"cannot write to standard output: {error.strerror}") from None
    return measured


def suffix_of(content: bytes) -> str:
    """The usual suffix of a photo's format, by its first bytes; `.png` if nobody knows it, which reading will say better."""
    kind = containers.kind(content[:64]) or "PNG"
    suffix = SUFFIXES.get(kind, f".{kind.lower()}")
    return suffix if suffix in PHOTO_SUFFIXES else ".png"
