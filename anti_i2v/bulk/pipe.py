"""One photo through standard input and output: `anti-i2v protect - --out - < a.jpg > b.png`."""

from __future__ import annotations

import sys

from anti_i2v.bulk.photo import protect_bytes, reason
from anti_i2v.bulk.plan import Plan, output_suffix
from anti_i2v.bulk.protector import PhotoProtector
from anti_i2v.bulk.request import STANDARD, Request
from anti_i2v.bulk.results import Result, Results, Status
from anti_i2v.errors import UsageError
from anti_i2v.imaging import containers
from anti_i2v.imaging.reading import PHOTO_SUFFIXES

SUFFIXES = {"JPEG": ".jpg", "TIFF": ".tif", "JPEG2000": ".jp2", "HEIF": ".heic"}  # where it is not the format's name


def protect_pipe(request: Request, protector: PhotoProtector) -> Results:
    """Protect the only source of a request, a file or standard input, and write it to standard output when it is complete.

    Raises:
        UsageError: It cannot be read or protected, or standard output is a terminal.
    """
    if sys.stdout.isatty():
        raise UsageError("--out - writes a picture, and standard output is a terminal; add `> FILE`")
    (source,) = request.sources
    name = "standard input" if source == STANDARD else str(source)
    try:
        content = sys.stdin.buffer.read() if source == STANDARD else source.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {source}: {error.strerror}; check the path") from None
    try:
        data, measurement = protect_bytes(protector, content, name, output_suffix(suffix_of(content), request.format), request)
    except UsageError:
        raise
    except Exception as error:  # encoders raise errors of many kinds
        raise UsageError(f"{name}: {reason(error)}") from None
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UsageError(f"cannot write to standard output: {error.strerror}") from None
    return Results(request, Plan(), protector, [Result(name, None, Status.PROTECTED, measurement)])


def suffix_of(content: bytes) -> str:
    """The usual suffix of a photo's format, by its first bytes; `.png` if the format is unknown, which reading will report."""
    kind = containers.kind(content[:64]) or "PNG"
    suffix = SUFFIXES.get(kind, f".{kind.lower()}")
    return suffix if suffix in PHOTO_SUFFIXES else ".png"
