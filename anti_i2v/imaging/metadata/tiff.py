"""Directories of tags, as TIFF and EXIF have them: read, cut and written without decoding a value.

Pillow decodes each value and encodes it anew, which loses letters beyond ASCII and moves maker notes away from their inner
offsets. Here values stay bytes, and what can be cut in place is cut in place.
"""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

EXIF, GPS, INTEROP, SUB_DIRECTORIES = 34665, 34853, 40965, 330
ORIENTATION = 274
LINKS = {0: (EXIF, GPS), EXIF: (INTEROP,)}
"""Directory → tags in it that point to another. Nothing else is followed, so no file can send a reader in circles."""

SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}  # type → bytes of one value
BIG_SIZES = {16: 8, 17: 8, 18: 8}
WORDS = {3: 2, 8: 2, 4: 4, 5: 4, 9: 4, 10: 4, 11: 4, 13: 4, 12: 8}  # type → bytes whose order depends on the byte order of the file
BYTE, LONG, UNDEFINED = 1, 4, 7
PIXELS = ((0x0201, 0x0202), (0x0111, 0x0117), (0x0144, 0x0145))
"""Tags that say where pixels lie and how many bytes: as a JPEG, in strips, in tiles."""
MAX_DIRECTORIES = 20  # of a file that are looked at
MAX_READ = 2**24  # bytes of values that are read from one file


class DamagedError(ValueError):
    """Not a directory of tags, or not all of it is there."""


@dataclass(frozen=True)
class Slot:
    """One row of a directory: where its value lies, of which type and how many bytes; `at` is the row itself."""

    tag: int
    kind: int
    count: int
    at: int
    where: int
    size: int


@dataclass(frozen=True)
class Directory:
    """Rows, where the link to the next directory lies, and where that is (0: nowhere)."""

    slots: tuple[Slot, ...]
    link_at: int
    next: int

    def find(self, tag: int) -> Slot | None:
        return next((slot for slot in self.slots if slot.tag == tag), None)


@dataclass(frozen=True)
class Entry:
    """A tag to write: its value in little-endian bytes, or the directory that it points to."""

    tag: int
    kind: int
    count: int
    value: bytes
    inside: tuple[Entry, ...] | None = None


class Reader:
    """A TIFF file, or EXIF without the six bytes that JPEG puts before it.

    Raises:
        DamagedError: It begins like neither.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.left = file, MAX_READ
        order = {b"II": "<", b"MM": ">"}.get(self.read(0, 2))
        if order is None:
            raise DamagedError("no byte order")
        self.order = order
        (magic,) = self.unpack("H", 2)
        if magic not in (42, 43):
            raise DamagedError("no TIFF")
        self.big = magic == 43
        (self.first,) = self.unpack("Q", 8) if self.big else self.unpack("I", 4)

    def read(self, at: int, size: int) -> bytes:
        """So many bytes from there."""
        self.left -= size
        if at >= 2**43 or self.left < 0:  # beyond what a file system holds
            raise DamagedError("too large")
        self.file.seek(at)
        data = self.file.read(size)
        if len(data) < size:
            raise DamagedError("cut off")
        return data

    def unpack(self, form: str, at: int) -> tuple[int, ...]:
        """Numbers from there, in the file's byte order."""
        return struct.unpack(self.order + form, self.read(at, struct.calcsize("=" + form)))

    def directory(self, at: int) -> Directory:
        """The rows that lie there."""
        (rows,) = self.unpack("Q" if self.big else "H", at)
        if rows > 65535:
            raise DamagedError("no directory")
        form, start = (self.order + "HHQ", at + 8) if self.big else (self.order + "HHI", at + 2)
        inline = 8 if self.big else 4
        step = struct.calcsize(form) + inline
        raw, slots = self.read(start, rows * step), []
        for row in range(0, rows * step, step):
            tag, kind, count = struct.unpack_from(form, raw, row)
            size = count * (SIZES.get(kind, 0) or (BIG_SIZES.get(kind, 0) if self.big else 0))
            where = start + row + step - inline
            if size > inline:
                (where,) = struct.unpack_from(self.order + ("Q" if self.big else "I"), raw, row + step - inline)
            slots.append(Slot(tag, kind, count, start + row, where, size))
        link_at = start + rows * step
        try:
            (following,) = self.unpack("Q" if self.big else "I", link_at)
        except DamagedError:  # some writers leave the link out of a directory that nothing follows, which only shows at the end of a file
            following = 0
        return Directory(tuple(slots), link_at, following)

    def directories(self) -> Iterator[tuple[int, Directory, bool]]:
        """All that can be reached and read, each once: where it lies, its rows, and whether it follows another, as a thumbnail's does."""
        ahead, seen = [(self.first, False)], {0}
        while ahead and len(seen) <= MAX_DIRECTORIES:
            at, follows = ahead.pop(0)
            if at in seen:
                continue
            seen.add(at)
            with contextlib.suppress(DamagedError):
                directory = self.directory(at)
                yield at, directory, follows
                ahead.append((directory.next, True))
                for tag in (EXIF, GPS, INTEROP, SUB_DIRECTORIES):
                    ahead += [(below, False) for below in self.numbers(directory.find(tag))[:MAX_DIRECTORIES]]

    def pixels(self, directory: Directory) -> list[tuple[int, int]]:
        """Where the pixels of a directory lie, and how many bytes; none if that cannot be read."""
        spans: list[tuple[int, int]] = []
        with contextlib.suppress(DamagedError):
            for where, sizes in PIXELS:
                spans += zip(self.numbers(directory.find(where)), self.numbers(directory.find(sizes)), strict=False)
        return spans

    def numbers(self, slot: Slot | None) -> tuple[int, ...]:
        """Whole numbers of a row; none if it holds something else."""
        form = {3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}.get(slot.kind) if slot else None
        if slot and slot.size > self.left:  # `struct` has errors of its own for what it cannot count
            raise DamagedError("too large")
        return self.unpack(f"{slot.count}{form}", slot.where) if slot and form else ()

    def value(self, tag: int) -> bytes | None:
        """The bytes of a tag of the first directory."""
        slot = self.directory(self.first).find(tag)
        return self.read(slot.where, slot.size) if slot else None

    def entries(self, at: int, tags: Container[int] | None = None, links: Sequence[int] = LINKS[0]) -> tuple[Entry, ...]:
        """The directory there as entries to write, or those of `tags`; what cannot be read of it is left out."""
        entries = {}
        for slot in self.directory(at).slots:
            if slot.tag in entries or not slot.size or (slot.kind in BIG_SIZES and slot.tag not in links):
                continue
            if tags is not None and slot.tag not in tags:
                continue
            try:
                if slot.tag in links:
                    (below,) = self.numbers(slot)
                    entries[slot.tag] = Entry(slot.tag, LONG, 1, b"", self.entries(below, None, LINKS.get(slot.tag, ())))
                else:
                    value = self.read(slot.where, slot.size)
                    value = _swap_bytes(value, slot.kind) if self.order == ">" else value
                    entries[slot.tag] = Entry(slot.tag, slot.kind, slot.count, value)
            except (DamagedError, ValueError):
                continue
        return tuple(entries.values())


def content_end(source: Reader) -> int:
    """Where the last directory, value or pixel ends, as far as they are known."""
    end = 0
    for _, directory, _ in source.directories():
        spans = [(slot.where, slot.size) for slot in directory.slots] + source.pixels(directory)
        end = max(end, directory.link_at + 4, *(at + size for at, size in spans), 0)
    return end


def _swap_bytes(value: bytes, kind: int) -> bytes:
    """Values in the other byte order."""
    word = WORDS.get(kind, 1)
    swapped = bytearray(value)
    for place in range(word):  # and not number by number: each would be an object of its own
        swapped[place::word] = value[word - 1 - place :: word]
    return bytes(swapped)


def _even(size: int) -> int:
    return size + size % 2


def encode_directory(entries: Iterable[Entry], at: int, order: str = "<", rows: Iterable[tuple[int, bytes]] = ()) -> bytes:
    """A directory for the (even) offset `at`, with its values and the directories below it; `rows` are taken as they are."""
    entries, encoded = tuple(entries), list(rows)
    values_at = at + 2 + 12 * (len(entries) + len(encoded)) + 4
    values = bytearray()
    for entry in entries:
        here = struct.pack(order + "I", values_at + len(values))
        kind, count = (LONG, 1) if entry.inside is not None else (entry.kind, entry.count)
        if entry.inside is not None:
            values += encode_directory(entry.inside, values_at + len(values), order)
        else:
            value = _swap_bytes(entry.value, kind) if order == ">" else entry.value
            if len(value) <= 4:
                here = value.ljust(4, b"\0")
            else:
                values += value
        values += bytes(len(values) % 2)
        encoded.append((entry.tag, struct.pack(order + "HHI", entry.tag, kind, count) + here))
    encoded.sort(key=lambda row: row[0])
    return struct.pack(order + "H", len(encoded)) + b"".join(row for _, row in encoded) + bytes(4) + bytes(values)


def encode_exif(entries: Iterable[Entry]) -> bytes:
    """Entries as EXIF, without the six bytes that JPEG puts before it; empty if there are none."""
    entries = tuple(entries)
    return b"II*\0\x08\0\0\0" + encode_directory(entries, 8) if entries else b""


def add_tags(file: io.BytesIO, entries: Iterable[Entry]) -> None:
    """Give a classic TIFF file more tags, in place of those that it has of them."""
    source = Reader(file)
    new = {entry.tag: entry for entry in entries}
    old = [(slot.tag, source.read(slot.at, 12)) for slot in source.directory(source.first).slots if slot.tag not in new]
    end = file.seek(0, io.SEEK_END)
    at = _even(end)
    file.write(bytes(at - end) + encode_directory(new.values(), at, source.order, old))
    file.seek(4)
    file.write(struct.pack(source.order + "I", at))
