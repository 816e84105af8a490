"""One photo from file to file, or from bytes to bytes, and what was measured on the way."""

from __future__ import annotations

import dataclasses
import io
import os
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from anti_i2v import atomic
from anti_i2v.bulk.protector import PhotoProtector
from anti_i2v.bulk.request import Request
from anti_i2v.errors import UsageError
from anti_i2v.imaging.file_attributes import copy_attributes
from anti_i2v.imaging.measure import Measurement, measure, visibility
from anti_i2v.imaging.metadata.statements import read_mark
from anti_i2v.imaging.reading import JPEG, read_photo
from anti_i2v.imaging.writing import LOSSLESS, LOSSY, SUFFIXES, encode_photo, write_error
from anti_i2v.inference.colours import to_srgb, unknown_points

TIFF = (".tif", ".tiff")
TRIES = 8  # at an epsilon whose colour difference is small enough; two or three do
MODES = {"1": "black and white", "P": "a palette", "PA": "a palette"}  # for people


class AlreadyProtectedError(UsageError):
    """The photo bears the mark of an earlier protection; a second one would add to the first and exceed its bound."""


def reuse_memory() -> None:
    """Let Pillow keep up to 8 freed blocks of 16 MB for the next picture: fresh memory costs half as much as decoding into it."""
    Image.core.set_blocks_max(8)  # type: ignore[attr-defined]  # the stubs leave it out


def protect_file(protector: PhotoProtector, source: Path, output: Path, request: Request) -> Measurement:
    """Read, protect, write, re-read and measure one photo; the file appears complete or not at all.

    Raises:
        AlreadyProtectedError: It bears the mark of a protection.
        UsageError: It cannot be read, protected or written, or it changed meanwhile; nothing is left behind.
    """
    before = _stat(source)
    photo = read_photo(source)
    with source.open("rb") as opened:
        digest = protector.digest(opened) if request.mark else ""
    if before is None or has_changed(source, before):
        raise UsageError(f"{source} changed while it was read; wait until it is complete and run again")
    suffix, notes = suffix_to_write(photo, output.suffix, request.format)
    photo, notes = to_writable_mode(photo, suffix, notes)
    protected, epsilon = _protect(protector, photo, request, str(source))
    notes += _change_notes(photo, protected)
    output.parent.mkdir(parents=True, exist_ok=True)
    with write_error(output, protected), atomic.write(output) as part:
        with part.open("wb") as file:
            notes += encode_photo(protected, file, suffix, photo, request.write_options(protector.mark(epsilon, digest)))
        measurement = _measure(photo, protected, read_photo(part, str(output)), suffix, epsilon, notes)
        copy_attributes(part, source, before)
    return measurement


def protect_bytes(protector: PhotoProtector, content: bytes, name: str, suffix: str, request: Request) -> tuple[bytes, Measurement]:
    """What `protect_file` does, from bytes to bytes; messages call it `name`, and `suffix` is that of the protected file.

    Raises:
        AlreadyProtectedError: It bears the mark of a protection.
        UsageError: It cannot be read, protected or written.
    """
    photo = read_photo(io.BytesIO(content), name)
    suffix, notes = suffix_to_write(photo, suffix, request.format)
    photo, notes = to_writable_mode(photo, suffix, notes)
    protected, epsilon = _protect(protector, photo, request, name)
    notes += _change_notes(photo, protected)
    file = io.BytesIO()
    digest = protector.digest(io.BytesIO(content)) if request.mark else ""
    notes += encode_photo(protected, file, suffix, photo, request.write_options(protector.mark(epsilon, digest)))
    data = file.getvalue()
    return data, _measure(photo, protected, read_photo(io.BytesIO(data), name), suffix, epsilon, notes)


def _protect(protector: PhotoProtector, photo: Image.Image, request: Request, name: str) -> tuple[Image.Image, float]:
    """The protected photo, and its epsilon: the whole budget, or what `max_delta_e` leaves of it.

    Raises:
        AlreadyProtectedError: It bears the mark of a protection.
        UsageError: `max_delta_e` leaves less than one 8-bit step.
    """
    if not request.force and (mark := read_mark(photo)):
        raise AlreadyProtectedError(
            f"{name} is protected already, by {mark.generator} with epsilon {mark.epsilon:g}; --force does it again"
        )
    budget, limit = request.epsilon or protector.epsilon, request.max_delta_e
    epsilon, protected = budget, protector.protect(photo, budget)
    if limit is not None:
        for _ in range(TRIES):
            difference = visibility(photo, protected)
            if difference <= limit:
                break
            epsilon *= 0.97 * limit / difference  # colour differences are nearly in proportion to epsilon
            protected = protector.protect(photo, epsilon)
        if epsilon < 1 <= budget or visibility(photo, protected) > limit:
            raise UsageError(f"{name}: a mean ΔE2000 of at most {limit:g} leaves no whole 8-bit step; raise --max-delta-e")
    return protected, epsilon


def _change_notes(photo: Image.Image, protected: Image.Image) -> tuple[str, ...]:
    """What protecting makes of modes that cannot hold a protected photo, and whether it found anybody to protect."""
    if photo.mode == protected.mode or photo.mode.startswith("I;16"):
        same = photo.size == protected.size and photo.tobytes() == protected.tobytes()
        return ("nobody was found in it, so it stays as it is",) if same else ()
    return (f"{MODES.get(photo.mode, photo.mode)} became {protected.mode}",)


def _measure(
    photo: Image.Image, protected: Image.Image, written: Image.Image, suffix: str, epsilon: float, notes: Sequence[str]
) -> Measurement:
    lossy = suffix.lower() in LOSSY or written.info.get("lossless") is False
    return dataclasses.replace(measure(photo, protected, written, lossy, epsilon), notes=tuple(notes))


def has_changed(path: Path, before: os.stat_result) -> bool:
    """Whether a file has another size or date than before, or is gone."""
    after = _stat(path)
    return after is None or (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns)


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def suffix_to_write(photo: Image.Image, suffix: str, format: str) -> tuple[str, tuple[str, ...]]:
    """The suffix that says the format to write, and a note where it is not the name's.

    Args:
        photo: As it was read.
        suffix: Of the protected file's name.
        format: With `same`, a photo stays what its content is, whatever its name says; else the name decides.
    """
    named, content = {**LOSSLESS, **LOSSY}.get(suffix.lower()), "JPEG" if photo.format == "MPO" else photo.format
    if format != "same" or content is None or named in (content, None):
        return suffix, ()
    words = {"HEIF": "HEIC"}
    says, is_now = words.get(named or "", named), words.get(content, content)
    if content not in SUFFIXES:
        return suffix, (f"{is_now}, which is not written, became {says}",)
    return SUFFIXES[content], (f"its name says {says} and its content is {is_now}, which it stays",)


def to_writable_mode(photo: Image.Image, suffix: str, before: tuple[str, ...] = ()) -> tuple[Image.Image, tuple[str, ...]]:
    """Bring a photo into a mode that its output format can hold, and add what changed to the notes of `before`.

    Print colours (CMYK) become sRGB by the embedded profile unless the output is JPEG or TIFF; other modes stay.
    """
    notes = [*before]
    if bits := photo.info.get("reduced_from_bits"):
        notes.append(f"{bits} bits per colour became 8")
    if points := unknown_points(photo.info):
        notes.append(f"the code points of its colours, {points}, are reserved or unknown, and it was seen as sRGB")
    unchanged = (*TIFF, *JPEG) if photo.mode == "CMYK" else TIFF
    if photo.mode in ("CMYK", "LAB", "YCbCr") and suffix.lower() not in unchanged:
        notes.append(f"{photo.mode} became RGB")
        converted = to_srgb(photo, photo.info)
        # EXIF and resolution belong to the photo still; its profile does not describe these numbers any more.
        converted.info = {key: value for key, value in photo.info.items() if key != "icc_profile"}
        photo = converted
    return photo, tuple(notes)


def reason(error: Exception) -> str:
    """An error as one line; one that was not foreseen is named by its kind."""
    if isinstance(error, UsageError):  # names in it may have lines; whoever prints it sees to that
        return str(error)
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else 'no message'}"
