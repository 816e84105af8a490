"""One photo or one shard from file to file, and what was measured on the way."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import BinaryIO

from PIL import Image, ImageCms

from anti_i2v.commands.measure import Measured, measure
from anti_i2v.commands.sources import is_photo, output_suffix, rename
from anti_i2v.errors import UsageError
from anti_i2v.images import encode_photo, read_photo, save_photo

Protect = Callable[[Image.Image, float], Image.Image]
"""What makes a protected photo of a photo and an epsilon, such as `Protector.protect`."""


@dataclass(frozen=True)
class Failed:
    """One input that was not protected, and why."""

    name: str
    reason: str


def reuse_memory() -> None:
    """Let Pillow keep up to 8 freed blocks of 16 MB for the next picture: fresh memory costs half as much as decoding into it."""
    Image.core.set_blocks_max(8)  # type: ignore[attr-defined]  # the stubs leave it out


def protect_photo(protect: Protect, source: Path, output: Path, epsilon: float) -> Measured:
    """Read, protect, write, re-read and measure one photo.

    Raises:
        UsageError: It cannot be read, protected or written; nothing is left behind.
    """
    photo, notes = prepare(read_photo(source), output.suffix)
    output.parent.mkdir(parents=True, exist_ok=True)
    save_photo(protect(photo, epsilon), output, like=photo)
    return measure(photo, read_photo(output), output.suffix, notes)


def prepare(photo: Image.Image, suffix: str) -> tuple[Image.Image, tuple[str, ...]]:
    """Bring a photo into a mode that its output format can hold, and say what changed.

    Print colours (CMYK) become sRGB by the embedded profile unless the output is TIFF; other modes stay.
    """
    notes = []
    if photo.info.get("reduced_from_bits"):
        notes.append("16 bits per colour became 8")
    if photo.mode in ("CMYK", "LAB", "YCbCr") and suffix.lower() not in (".tif", ".tiff"):
        notes.append(f"{photo.mode} became RGB")
        photo = _to_srgb(photo)
    return photo, tuple(notes)


def _to_srgb(photo: Image.Image) -> Image.Image:
    profile = photo.info.get("icc_profile")
    try:
        if not profile:
            raise ValueError("no profile")
        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        converted = ImageCms.profileToProfile(photo, io.BytesIO(profile), srgb, outputMode="RGB")
        assert converted is not None  # `inPlace` is False
    except (ValueError, ImageCms.PyCMSError):
        converted = photo.convert("RGB")
    # EXIF and resolution belong to the photo still; its profile does not describe these numbers any more.
    converted.info = {key: value for key, value in photo.info.items() if key != "icc_profile"}
    return converted


def shard_photos(path: Path, format: str) -> dict[str, str]:
    """Photos in a tar: name of the member → name of the protected member.

    Raises:
        UsageError: Not a plain tar, or two members that would get one name.
    """
    try:
        with tarfile.open(path, "r:") as tar:
            names = [member.name for member in tar if member.isfile()]
    except (tarfile.TarError, OSError) as error:
        raise UsageError(f"cannot read {path}: {error}; give an uncompressed .tar") from None
    photos = {name: str(rename(PurePath(name), format)) for name in names if is_photo(name)}
    owner = {name: name for name in names if name not in photos}
    for name, new in photos.items():
        other = owner.setdefault(new, name)
        if other != name:
            raise UsageError(f"{path}: {other} and {name} would both become {new}; rename one or use --format same")
    return photos


def protect_shard(
    protect: Protect, source: Path, output: Path, epsilon: float, format: str, tick: Callable[[], object]
) -> Iterator[Measured | Failed]:
    """Protect the photos of a tar into a tar; other members are copied byte for byte, in order.

    A photo that cannot be protected is left out, because a copy would look protected; it is yielded as `Failed`.
    The new tar appears when the iterator is exhausted, complete, or not at all.
    """
    photos = shard_photos(source, format)
    output.parent.mkdir(parents=True, exist_ok=True)
    part = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        with tarfile.open(source, "r:") as old, tarfile.open(part, "w") as new:
            for member in old:
                content = old.extractfile(member) if member.isfile() else None
                if content is None or member.name not in photos:
                    new.addfile(member, content)
                    continue
                called = f"{source}: {member.name}"
                try:
                    data, measured = _protect_member(protect, content.read(), called, epsilon, format)
                except Exception as error:  # one bad photo never stops the shard
                    yield Failed(called, reason(error))
                else:
                    member.name, member.size = photos[member.name], len(data)
                    member.pax_headers = {k: v for k, v in member.pax_headers.items() if k not in ("path", "size")}
                    new.addfile(member, io.BytesIO(data))
                    yield measured
                tick()
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)


def _protect_member(protect: Protect, content: bytes, called: str, epsilon: float, format: str) -> tuple[bytes, Measured]:
    suffix = output_suffix(PurePath(called).suffix, format)
    file: BinaryIO = io.BytesIO(content)
    photo, notes = prepare(read_photo(file, called), suffix)
    written = io.BytesIO()
    encode_photo(protect(photo, epsilon), written, suffix, like=photo)
    data = written.getvalue()
    return data, measure(photo, read_photo(io.BytesIO(data), called), suffix, notes)


def reason(error: Exception) -> str:
    """An error as one line; what we did not foresee is named by its kind."""
    text = str(error).strip().splitlines()
    first = text[0] if text else "no message"
    return first if isinstance(error, UsageError) else f"{type(error).__name__}: {first}"
