"""What is in a tar, member by member, each with the bytes that belong to it. Nothing is ever unpacked, so no name can point outside."""

from __future__ import annotations

import contextlib
import posixpath
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from anti_i2v.errors import UsageError
from anti_i2v.imaging.reading import is_photo

BLOCK, RECORD = 512, 10240  # bytes; the end of a tar fills a record
CHUNK = 2**20  # bytes copied at once: members may be larger than memory
WRITTEN_HEADERS = ("path", "linkpath", "size", "hdrcharset")  # extended headers that `tarfile` writes by itself where they are needed


@dataclass(frozen=True)
class Member:
    """A member and its place.

    Attributes:
        info: Its header.
        begin: First byte of what belongs to it; headers for all that follows may stand before its own.
        end: Behind its last byte, padding included.
    """

    info: tarfile.TarInfo
    begin: int
    end: int

    @property
    def name(self) -> str:
        """As it stands in the tar."""
        return self.info.name

    @property
    def is_photo(self) -> bool:
        """By its suffix, and a plain file."""
        return self.info.isfile() and is_photo(self.name)

    @property
    def target(self) -> str | None:
        """The `key` of the name that a link leads to; None if this is no link."""
        if self.info.issym():
            return key(posixpath.join(posixpath.dirname(self.name), self.info.linkname))
        return key(self.info.linkname) if self.info.islnk() else None


def key(name: str) -> str:
    """The same for all spellings of a member's name, such as `./a.jpg` and `a.jpg`."""
    return posixpath.normpath(name)


class Tar:
    """An uncompressed tar to read; use it as a context, and go through it once.

    Raises:
        UsageError: It cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.file = path.open("rb")
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}; check the path") from None
        try:
            self.tar = tarfile.open(fileobj=self.file, mode="r:")  # noqa: SIM115
        except Exception as error:  # a hostile header ends in errors of many kinds
            self.file.close()
            raise self._unreadable(error) from None

    def __enter__(self) -> Tar:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.file.close()

    def __iter__(self) -> Iterator[Member]:
        """All members in order.

        Raises:
            UsageError: It is damaged, or goes on after its end; `tarfile` alone would silently leave out what follows.
        """
        begin = 0
        try:
            while info := self.tar.next():
                if self.tar.offset <= begin:
                    raise tarfile.ReadError(f"{info.name} has an impossible size")
                self.tar.members = []  # type: ignore[attr-defined]  # it would keep them all, and there may be millions
                yield Member(info, begin, self.tar.offset)
                begin = self.tar.offset
            self.file.seek(begin)
            if self.file.read(BLOCK).strip(b"\0"):
                raise tarfile.ReadError(f"it is damaged at byte {begin}")
            while chunk := self.file.read(CHUNK):
                if chunk.strip(b"\0"):
                    raise tarfile.ReadError("it goes on after its end, as two tars in one file do")
        except Exception as error:
            raise self._unreadable(error) from None

    def read(self, member: Member) -> bytes:
        """The content of a file."""
        opened = self.tar.extractfile(member.info)
        return opened.read() if opened else b""

    def head(self, member: Member, size: int) -> bytes:
        """The first bytes of a file; nothing where it is damaged, which the next member shows."""
        with contextlib.suppress(Exception):  # a hostile header ends in errors of many kinds
            if opened := self.tar.extractfile(member.info):
                return opened.read(size)
        return b""

    def copy(self, member: Member, new: BinaryIO) -> None:
        """Write a member byte for byte."""
        self._copy(member.begin, member.end, new)

    def write(self, member: Member, new: BinaryIO, data: bytes | None = None) -> None:
        """Write a member whose header has another name by now, or a file with other data; all else in its header stays."""
        self._copy(member.begin, member.info.offset, new)
        info, shared = member.info, self.tar.pax_headers
        info.pax_headers = {
            name: value
            for name, value in info.pax_headers.items()
            if name not in WRITTEN_HEADERS and shared.get(name) != value and not name.startswith("GNU.sparse.")
        }
        if data is not None:
            info.type, info.size = tarfile.REGTYPE, len(data)
        new.write(info.tobuf(tarfile.PAX_FORMAT, tarfile.ENCODING, "surrogateescape"))
        new.write(data + bytes(-len(data) % BLOCK) if data else b"")

    def _copy(self, begin: int, end: int, new: BinaryIO) -> None:
        self.file.seek(begin)
        while begin < end:
            chunk = self.file.read(min(CHUNK, end - begin))
            if not chunk:
                raise self._unreadable("it ends too early")
            new.write(chunk)
            begin += len(chunk)

    def _unreadable(self, why: object) -> UsageError:
        return UsageError(f"cannot read {self.path}: {str(why) or type(why).__name__}; give an uncompressed, sound .tar")


def finish(new: BinaryIO) -> None:
    """Write the end of a tar."""
    new.write(bytes(2 * BLOCK))
    new.write(bytes(-new.tell() % RECORD))
