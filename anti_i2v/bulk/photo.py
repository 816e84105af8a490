"""One photo from file to file, and what was measured on the way."""

from __future__ import annotations

import dataclasses
import io
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from anti_i2v.errors import UsageError
from anti_i2v.imaging.inheritance import inherit
from anti_i2v.imaging.measure import Measured, measure, visibility
from anti_i2v.imaging.metadata.marks import protected_mark
from anti_i2v.imaging.reading import JPEG, read_photo
from anti_i2v.imaging.writing import LOSSY, Saving, encode_photo, save_photo
from anti_i2v.inference.profiles import to_srgb

Protect = Callable[[Image.Image, float], Image.Image]
"""What makes a protected photo of a photo and an epsilon, such as `Protector.protect`."""

TIFF = (".tif", ".tiff")
TRIES = 8  # at an epsilon whose colour difference is small enough; two or three do


@dataclass(frozen=True)
class Task:
    """What is asked for every photo of one call.

    Attributes:
        epsilon: Budget in 1/255 steps.
        format: One of `sources.FORMATS`.
        saving: How files are written; its mark is that of a photo with the whole budget.
        max_delta_e: Largest mean ΔE2000 that the residual may have; a photo that exceeds it gets a smaller epsilon. None: any.
        force: Protect photos that bear the mark of a protection once more.
    """

    epsilon: float = 8.0
    format: str = "lossless"
    saving: Saving = field(default_factory=Saving)
    max_delta_e: float | None = None
    force: bool = False


class AlreadyProtectedError(UsageError):
    """The photo bears the mark of an earlier protection; a second one would add to the first and exceed its bound."""


def reuse_memory() -> None:
    """Let Pillow keep up to 8 freed blocks of 16 MB for the next picture: fresh memory costs half as much as decoding into it."""
    Image.core.set_blocks_max(8)  # type: ignore[attr-defined]  # the stubs leave it out


def protect_photo(protect: Protect, source: Path, output: Path, task: Task) -> Measured:
    """Read, protect, write, re-read and measure one photo; the file appears complete or not at all.

    Raises:
        AlreadyProtectedError: It bears the mark of a protection.
        UsageError: It cannot be read, protected or written, or it changed meanwhile; nothing is left behind.
    """
    before = _state(source)
    photo, notes = prepare(read_photo(source), output.suffix)
    if before is None or _changed(before, source):
        raise UsageError(f"{source} changed while it was read; wait until it is complete and run again")
    protected, task = protected_within(protect, photo, task, str(source))
    notes += _became(photo, protected)
    output.parent.mkdir(parents=True, exist_ok=True)
    measured: list[Measured] = []

    def check(part: Path) -> None:
        measured.append(_measured(photo, protected, read_photo(part, str(output)), output.suffix, task, ()))
        inherit(part, before)

    notes += save_photo(protected, output, photo, task.saving, check)
    return dataclasses.replace(measured[0], notes=notes)


def protect_bytes(protect: Protect, content: bytes, called: str, suffix: str, task: Task) -> tuple[bytes, Measured]:
    """What `protect_photo` does, from bytes to bytes.

    Args:
        protect: What makes a protected photo of a photo.
        content: Of a photo file.
        called: What messages call it.
        suffix: Of the protected file; says its format.
        task: What is asked for.

    Raises:
        AlreadyProtectedError: It bears the mark of a protection.
        UsageError: It cannot be read, protected or written.
    """
    photo, notes = prepare(read_photo(io.BytesIO(content), called), suffix)
    protected, task = protected_within(protect, photo, task, called)
    notes += _became(photo, protected)
    file: BinaryIO = io.BytesIO()
    notes += encode_photo(protected, file, suffix, photo, task.saving)
    data = file.getvalue()  # type: ignore[attr-defined]
    return data, _measured(photo, protected, read_photo(io.BytesIO(data), called), suffix, task, notes)


def protected_within(protect: Protect, photo: Image.Image, task: Task, called: str) -> tuple[Image.Image, Task]:
    """The protected photo and the task as it was fulfilled: with the epsilon, also in the mark, that `max_delta_e` left.

    Raises:
        AlreadyProtectedError: It bears the mark of a protection.
        UsageError: `max_delta_e` leaves less than one 8-bit step.
    """
    if not task.force and (mark := protected_mark(photo)):
        raise AlreadyProtectedError(
            f"{called} is protected already, by {mark.generator} with epsilon {mark.epsilon:g}; --force does it again"
        )
    epsilon, protected = task.epsilon, protect(photo, task.epsilon)
    if task.max_delta_e is not None:
        for _ in range(TRIES):
            seen = visibility(photo, protected)
            if seen <= task.max_delta_e:
                break
            epsilon *= 0.97 * task.max_delta_e / seen  # colour differences are nearly in proportion to epsilon
            protected = protect(photo, epsilon)
        if epsilon < 1 <= task.epsilon or visibility(photo, protected) > task.max_delta_e:
            raise UsageError(f"{called}: a mean ΔE2000 of at most {task.max_delta_e:g} leaves no whole 8-bit step; raise --max-delta-e")
    mark = task.saving.mark
    saving = dataclasses.replace(task.saving, mark=dataclasses.replace(mark, epsilon=epsilon)) if mark else task.saving
    return protected, dataclasses.replace(task, epsilon=epsilon, saving=saving)


def _became(photo: Image.Image, protected: Image.Image) -> tuple[str, ...]:
    """What protecting makes of modes that cannot hold a protected photo."""
    if photo.mode == protected.mode or photo.mode.startswith("I;16"):
        return ()
    names = {"1": "black and white", "P": "a palette", "PA": "a palette"}
    return (f"{names.get(photo.mode, photo.mode)} became {protected.mode}",)


def _measured(
    photo: Image.Image, protected: Image.Image, written: Image.Image, suffix: str, task: Task, notes: tuple[str, ...]
) -> Measured:
    lossy = suffix.lower() in LOSSY or written.info.get("lossless") is False
    return measure(photo, protected, written, lossy, task.epsilon, notes)


def _state(path: Path) -> os.stat_result | None:
    """Of a file, if there is one."""
    try:
        return path.stat()
    except OSError:
        return None


def _changed(before: os.stat_result, path: Path) -> bool:
    after = _state(path)
    return after is None or (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns)


def prepare(photo: Image.Image, suffix: str) -> tuple[Image.Image, tuple[str, ...]]:
    """Bring a photo into a mode that its output format can hold, and say what changed.

    Print colours (CMYK) become sRGB by the embedded profile unless the output is JPEG or TIFF; other modes stay.
    """
    notes = []
    if bits := photo.info.get("reduced_from_bits"):
        notes.append(f"{bits} bits per colour became 8")
    kept = (*TIFF, *JPEG) if photo.mode == "CMYK" else TIFF
    if photo.mode in ("CMYK", "LAB", "YCbCr") and suffix.lower() not in kept:
        notes.append(f"{photo.mode} became RGB")
        photo = _to_srgb(photo)
    return photo, tuple(notes)


def _to_srgb(photo: Image.Image) -> Image.Image:
    converted = to_srgb(photo, photo.info.get("icc_profile"))
    # EXIF and resolution belong to the photo still; its profile does not describe these numbers any more.
    converted.info = {key: value for key, value in photo.info.items() if key != "icc_profile"}
    return converted


def reason(error: Exception) -> str:
    """An error as one line; what we did not foresee is named by its kind."""
    text = str(error).strip().splitlines()
    first = text[0] if text else "no message"
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    return first if isinstance(error, UsageError) else f"{type(error).__name__}: {first}"
