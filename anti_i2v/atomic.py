"""Files and folders that appear complete or not at all: a part beside the target is filled, then takes its name."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from anti_i2v.errors import UsageError

PART_NAME = re.compile(r"\.([0-9a-f]{12})\.(\d+)\.part")
"""The name of a part: the `digest` of its target's name and the process that writes it."""


def digest(path: Path) -> str:
    """Stands for a file's name in that of its part, and has a fixed length: names may be as long as the file system allows."""
    return hashlib.sha256(path.name.encode(errors="replace")).hexdigest()[:12]


def part_path(path: Path) -> Path:
    """Where this process writes a file or folder until it is complete."""
    return path.with_name(f".{digest(path)}.{os.getpid()}.part")


@contextlib.contextmanager
def write(path: str | Path) -> Iterator[Path]:
    """A file to fill, which takes its place when the `with` block succeeds and is removed otherwise.

    Args:
        path: That place, in an existing folder; an older file there is replaced.

    Yields:
        The path of the part, which does not exist yet. Its suffix names no format.

    Raises:
        OSError: It cannot take its place.
    """
    target = Path(path)
    part = part_path(target)
    try:
        yield part
        part.replace(target)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


@contextlib.contextmanager
def write_folder(folder: str | Path) -> Iterator[Path]:
    """A generator folder to fill, which takes its place when the `with` block succeeds and is removed otherwise.

    Args:
        folder: That place, made with its parents; an older generator folder there is replaced.

    Yields:
        An empty folder beside it.

    Raises:
        UsageError: Something other than a generator folder is there, or it cannot be written.
    """
    target = Path(folder).expanduser().absolute()
    if target.exists() and not (target / "config.json").is_file() and (target.is_file() or any(target.iterdir())):
        raise UsageError(f"{target} exists and is not a generator folder; choose another or remove it")
    part = part_path(target)
    try:
        part.mkdir(parents=True)
        yield part
        _replace(part, target)
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error.strerror}; choose another folder") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _replace(new: Path, target: Path) -> None:
    """Put the folder `new` at `target`; a folder that is there is set aside first, since no rename replaces a full one."""
    old = new.with_suffix(".old")
    if target.exists():
        target.rename(old)
    new.rename(target)
    shutil.rmtree(old, ignore_errors=True)
