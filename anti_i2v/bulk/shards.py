"""A tar of samples, as `webdataset` reads them: its photos protected, every other member byte for byte as it was, in the same order."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from anti_i2v.bulk.jobs import output_suffix
from anti_i2v.bulk.photo import AlreadyProtectedError, Protect, Task, protect_bytes, reason
from anti_i2v.bulk.result import FAILED, PROTECTED, SKIPPED, Outcome
from anti_i2v.bulk.tars import Member, Tar, finish, key
from anti_i2v.errors import UsageError
from anti_i2v.imaging.inheritance import inherit
from anti_i2v.imaging.reading import is_photo
from anti_i2v.imaging.writing import passing

MOST = 2**30  # bytes of a photo, which is read at once; 100 megapixels of 16 bits with alpha take 800 MB


@dataclass
class Contents:
    """What there is to do in a tar.

    Attributes:
        photos: How many.
        names: What photos, and links to them, will be called, by `key`.
    """

    photos: int = 0
    names: dict[str, str] = field(default_factory=dict)


def contents(path: Path, format: str) -> Contents:
    """Look through a tar.

    Raises:
        UsageError: Not a plain, sound tar, or two members that would get one name.
    """
    found, others, links = Contents(), [], []
    with Tar(path) as tar:
        for member in tar:
            if member.is_photo:
                found.photos += 1
                found.names[key(member.name)] = _renamed(member.name, format)
            elif member.target is not None:
                links.append((member.name, member.target))
            else:
                others.append(member.name)
    for name, target in links:
        if target in found.names:
            found.names[key(name)] = _renamed(name, format)
        else:
            others.append(name)
    owner = {key(name): name for name in others}
    for name, new in found.names.items():
        other = owner.setdefault(key(new), name)
        if other != name:
            raise UsageError(f"{path}: {other} and {name} would both become {new}; rename one or use --format same")
    return found


def protect_shard(protect: Protect, source: Path, output: Path, task: Task, tick: Callable[[], object]) -> list[Outcome]:
    """Protect the photos of a tar into a tar; other members, and photos that are protected already, are copied as they are.

    A photo that cannot be protected is left out with the links to it, because a copy would look protected; it has failed. So has
    a link of a photo's name that leads to no photo of the tar. The new tar appears complete or not at all.

    Args:
        protect: What makes a protected photo of a photo.
        source: The tar.
        output: The tar to write.
        task: What is asked for.
        tick: Called after each photo.

    Raises:
        UsageError: Not a plain, sound tar, two members that would get one name, or it changed meanwhile.
    """
    before = source.stat()
    names: dict[str, str | None] = {**contents(source, task.format).names}
    output.parent.mkdir(parents=True, exist_ok=True)
    part, outcomes = passing(output), []
    try:
        with Tar(source) as old, part.open("wb") as new:
            for member in old:
                if member.is_photo:
                    outcomes.append(_photo(protect, old, new, member, names, task))
                    tick()
                elif member.target in names or (member.target is not None and is_photo(member.name)):
                    outcomes += _link(old, new, member, names, task.format)
                else:
                    old.copy(member, new)
            finish(new)
        after = source.stat()
        if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            raise UsageError(f"{source} changed while it was read; wait until it is complete and run again")
        if not any(outcome.status == FAILED for outcome in outcomes):  # without its date, a later call does not take it for done
            inherit(part, before)
        part.replace(output)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return outcomes


def _photo(protect: Protect, old: Tar, new: BinaryIO, member: Member, names: dict[str, str | None], task: Task) -> Outcome:
    """Protect one member and add it to the new tar; `names` then says what became of it."""
    name, renamed, begin = member.name, _renamed(member.name, task.format), time.perf_counter()
    called = f"{old.path}: {name}"
    try:
        if member.info.size > MOST:
            raise UsageError(f"{called} has {member.info.size / 2**30:.1f} GiB, and photos in a tar have at most 1; protect it as a file")
        data, measured = protect_bytes(protect, old.read(member), called, _suffix(renamed), task)
    except AlreadyProtectedError as error:
        names[key(name)] = name
        old.copy(member, new)
        return Outcome(called, name, SKIPPED, reason=reason(error))
    except Exception as error:  # one bad photo never stops the shard
        names[key(name)] = None
        return Outcome(called, None, FAILED, reason=reason(error))
    names[key(name)] = member.info.name = renamed
    old.write(member, new, data)
    return Outcome(called, renamed, PROTECTED, measured, seconds=time.perf_counter() - begin)


def _link(old: Tar, new: BinaryIO, member: Member, names: dict[str, str | None], format: str) -> list[Outcome]:
    """Let a link follow its photo."""
    name, leads = member.name, member.info.linkname
    target = names.get(member.target or "")
    if target is None:
        names[key(name)] = None
        return [Outcome(f"{old.path}: {name}", None, FAILED, reason=f"it is a link to {leads}, which is no protected photo of this tar")]
    if key(target) == member.target:
        names[key(name)] = name
        old.copy(member, new)
    else:
        member.info.name = names[key(name)] = _renamed(name, format)
        member.info.linkname = leads.removesuffix(_suffix(leads)) + _suffix(target)
        old.write(member, new)
    return []


def _renamed(name: str, format: str) -> str:
    """The name of the protected member, spelled as it was: `./a.jpg` must go on being of one sample with `./a.json`."""
    return name.removesuffix(_suffix(name)) + output_suffix(_suffix(name), format) if is_photo(name) else name


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix
