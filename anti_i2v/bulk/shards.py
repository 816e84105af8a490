"""A tar of samples, as `webdataset` reads them: its photos protected, every other member byte for byte as it was, in the same order."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from anti_i2v import atomic
from anti_i2v.bulk.others import HEAD, SHOW_ORIGINALS, SHOW_PEOPLE, kind_of
from anti_i2v.bulk.photo import AlreadyProtectedError, has_changed, protect_bytes, reason
from anti_i2v.bulk.plan import output_suffix
from anti_i2v.bulk.protector import PhotoProtector
from anti_i2v.bulk.request import Request
from anti_i2v.bulk.results import Result, Status
from anti_i2v.bulk.tars import Member, Tar, finish, key
from anti_i2v.errors import UsageError
from anti_i2v.imaging.file_attributes import copy_attributes
from anti_i2v.imaging.reading import is_photo

MAX_PHOTO = 2**30  # bytes of a photo, which is read at once; 100 megapixels of 16 bits with alpha take 800 MB


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
    result, others, links = Contents(), [], []
    with Tar(path) as tar:
        for member in tar:
            if member.is_photo:
                result.photos += 1
                result.names[key(member.name)] = _renamed(member.name, format)
            elif member.target is not None:
                links.append((member.name, member.target))
            else:
                others.append(member.name)
    for name, target in links:
        if target in result.names:
            result.names[key(name)] = _renamed(name, format)
        else:
            others.append(name)
    owner = {key(name): name for name in others}
    for name, new in result.names.items():
        other = owner.setdefault(key(new), name)
        if other != name:
            raise UsageError(f"{path}: {other} and {name} would both become {new}; rename one or use --format same")
    return result


def left_alone(path: Path) -> list[Result]:
    """What else a tar holds that shows people.

    Raises:
        UsageError: Not a plain, sound tar.
    """
    with Tar(path) as tar:
        return [result for member in tar for result in _left_alone(tar, member)]


def _left_alone(tar: Tar, member: Member) -> list[Result]:
    if not member.info.isfile() or member.is_photo:
        return []
    kind = kind_of(member.name, lambda: tar.head(member, HEAD))
    shows_people = kind in SHOW_PEOPLE | SHOW_ORIGINALS  # it lies beside protected photos, wherever the tar is written
    return [Result(f"{tar.path}: {member.name}", member.name, Status.LEFT_ALONE, reason=kind)] if kind and shows_people else []


def protect_shard(protector: PhotoProtector, source: Path, output: Path, request: Request, advance: Callable[[], object]) -> list[Result]:
    """Protect the photos of a tar into a tar; other members, and photos that are protected already, are copied as they are.

    A photo that cannot be protected is left out with the links to it, because a copy would look protected; it has failed. So has
    a link of a photo's name that leads to no photo of the tar. What else shows people (films, RAW photos, photos of hidden or other names)
    is copied as well and named among the results. The new tar appears complete or not at all.

    Raises:
        UsageError: Not a plain, sound tar, two members that would get one name, or it changed meanwhile.
    """
    before = source.stat()
    names: dict[str, str | None] = {**contents(source, request.format).names}
    output.parent.mkdir(parents=True, exist_ok=True)
    results: list[Result] = []
    with atomic.write(output) as part:
        with Tar(source) as old, part.open("wb") as new:
            for member in old:
                if member.is_photo:
                    results.append(_protect_member(protector, old, new, member, names, request))
                    advance()
                elif member.target in names or (member.target is not None and is_photo(member.name)):
                    results += _copy_link(old, new, member, names, request.format)
                else:
                    results += _left_alone(old, member)
                    old.copy(member, new)
            finish(new)
        if has_changed(source, before):
            raise UsageError(f"{source} changed while it was read; wait until it is complete and run again")
        if not any(result.status == Status.FAILED for result in results):  # without its date, a later call does not take it for done
            copy_attributes(part, source, before)
    return results


def _protect_member(
    protector: PhotoProtector, old: Tar, new: BinaryIO, member: Member, names: dict[str, str | None], request: Request
) -> Result:
    """Protect one member and add it to the new tar; `names` then says what became of it."""
    name, new_name, begin = member.name, _renamed(member.name, request.format), time.perf_counter()
    source = f"{old.path}: {name}"
    try:
        if member.info.size > MAX_PHOTO:
            raise UsageError(f"{source} has {member.info.size / 2**30:.1f} GiB, and photos in a tar have at most 1; protect it as a file")
        data, measurement = protect_bytes(protector, old.read(member), source, _suffix(new_name), request)
    except AlreadyProtectedError as error:
        names[key(name)] = name
        old.copy(member, new)
        return Result(source, name, Status.SKIPPED, reason=reason(error))
    except Exception as error:  # one bad photo never stops the shard
        names[key(name)] = None
        return Result(source, None, Status.FAILED, reason=reason(error))
    names[key(name)] = member.info.name = new_name
    old.write(member, new, data)
    return Result(source, new_name, Status.PROTECTED, measurement, seconds=time.perf_counter() - begin)


def _copy_link(old: Tar, new: BinaryIO, member: Member, names: dict[str, str | None], format: str) -> list[Result]:
    """Let a link follow its photo to its new name."""
    name, link = member.name, member.info.linkname
    target = names.get(member.target or "")
    if target is None:
        names[key(name)] = None
        problem = f"it is a link to {link}, which is no protected photo of this tar"
        return [Result(f"{old.path}: {name}", None, Status.FAILED, reason=problem)]
    if key(target) == member.target:
        names[key(name)] = name
        old.copy(member, new)
    else:
        member.info.name = names[key(name)] = _renamed(name, format)
        member.info.linkname = link.removesuffix(_suffix(link)) + _suffix(target)
        old.write(member, new)
    return []


def _renamed(name: str, format: str) -> str:
    """The name of the protected member, spelled as it was: `./a.jpg` must go on being of one sample with `./a.json`."""
    return name.removesuffix(_suffix(name)) + output_suffix(_suffix(name), format) if is_photo(name) else name


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix
