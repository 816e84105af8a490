"""What lies beside photos and is left alone: what it is, whether it shows the same people, and what somebody can do about it.

Known by name, and where a name says nothing by the first bytes. A folder that a user names as a source is never asked for here.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.util import find_spec
from pathlib import Path, PurePath

from anti_i2v.atomic import PART_NAME
from anti_i2v.imaging import containers
from anti_i2v.imaging.reading import HEIF, PHOTO_SUFFIXES

HEAD = 64  # bytes that tell a format
MOST_NAMES = 10_000  # that are looked at to find out whether a folder holds pictures


class Kind(StrEnum):
    """What it is; the value stands in reports."""

    RAW = "raw"
    HEIC = "heic"
    PICTURE = "picture"
    RENAMED = "renamed"
    FILM = "film"
    THUMBNAILS = "thumbnails"
    EARLIER = "earlier"
    HIDDEN = "hidden"
    LINKED = "linked"
    SIDECAR = "sidecar"
    SYSTEM = "system"
    OTHER = "other"


WORDS = {
    Kind.RAW: ("RAW photo", "RAW photos", "save it as TIFF or JPEG and protect that"),
    Kind.HEIC: ("HEIC photo", "HEIC photos", "pip install 'anti-i2v[heif]', then run again"),
    Kind.PICTURE: ("picture of a format that is not read", "pictures of formats that are not read", "save it as PNG and protect that"),
    Kind.RENAMED: ("photo without a photo's name", "photos without a photo's name", "name it like a photo (a.jpg) and run again"),
    Kind.FILM: ("film", "films", "films cannot be protected"),
    Kind.THUMBNAILS: (
        "store of thumbnails",
        "stores of thumbnails",
        "delete it, or have the NAS or program index its photos again, so that it is made anew of the protected photos",
    ),
    Kind.EARLIER: (
        "earlier or deleted state of photos",
        "earlier or deleted states of photos",
        "remove it if nobody is to see them",
    ),
    Kind.HIDDEN: ("hidden folder with pictures", "hidden folders with pictures", "name it as a source to protect it"),
    Kind.LINKED: (
        "linked folder with pictures",
        "linked folders with pictures",
        "links are not followed; name it as a source to protect it",
    ),
    Kind.SIDECAR: ("sidecar file (edits)", "sidecar files (edits)", "not changed, and not copied into --out"),
    Kind.SYSTEM: ("folder of the system or without pictures", "folders of the system or without pictures", ""),
    Kind.OTHER: ("other file", "other files", ""),
}
"""One, several, and what to do or to know."""
SHOW_PEOPLE = {Kind.RAW, Kind.HEIC, Kind.PICTURE, Kind.RENAMED, Kind.FILM, Kind.HIDDEN, Kind.LINKED}
"""Whatever becomes of the photos."""
SHOW_ORIGINALS = {Kind.THUMBNAILS, Kind.EARLIER}
"""They give away what protected photos beside them looked like; where photos are not replaced, they lie beside originals."""

FOLDERS = {
    "@eadir": (Kind.THUMBNAILS, "Synology"),
    ".@__thumb": (Kind.THUMBNAILS, "QNAP"),
    "@__thumb": (Kind.THUMBNAILS, "QNAP"),
    ".wdmc": (Kind.THUMBNAILS, "Western Digital"),
    ".thumbnails": (Kind.THUMBNAILS, "Android or Linux"),
    ".thumbs": (Kind.THUMBNAILS, "Android or Linux"),
    ".xvpics": (Kind.THUMBNAILS, "GIMP or xv"),
    ".picasaoriginals": (Kind.EARLIER, "Picasa"),
    ".dtrash": (Kind.EARLIER, "digiKam"),
    ".trashes": (Kind.EARLIER, "macOS"),
    ".trash": (Kind.EARLIER, "macOS or Linux"),
    ".documentrevisions-v100": (Kind.EARLIER, "macOS"),
    "$recycle.bin": (Kind.EARLIER, "Windows"),
    "recycler": (Kind.EARLIER, "Windows"),
    "#recycle": (Kind.EARLIER, "Synology"),
    "@recycle": (Kind.EARLIER, "QNAP"),
    ".recycle": (Kind.EARLIER, "Samba"),
    "#snapshot": (Kind.EARLIER, "Synology"),
    "@recently-snapshot": (Kind.EARLIER, "QNAP"),
    ".snapshot": (Kind.EARLIER, "a NAS"),
    ".snapshots": (Kind.EARLIER, "Linux"),
    ".zfs": (Kind.EARLIER, "ZFS"),
    ".stversions": (Kind.EARLIER, "Syncthing"),
    "@tmp": (Kind.SYSTEM, "Synology"),
    ".appledouble": (Kind.SYSTEM, "netatalk"),
    "__macosx": (Kind.SYSTEM, "macOS, in a ZIP"),
    ".spotlight-v100": (Kind.SYSTEM, "macOS"),
    ".fseventsd": (Kind.SYSTEM, "macOS"),
    ".temporaryitems": (Kind.SYSTEM, "macOS"),
    "system volume information": (Kind.SYSTEM, "Windows"),
    "lost+found": (Kind.SYSTEM, "Linux"),
    ".git": (Kind.SYSTEM, "git"),
    ".svn": (Kind.SYSTEM, "Subversion"),
    ".hg": (Kind.SYSTEM, "Mercurial"),
}
"""Name of a folder that a program makes, in small letters → what is in it, and which program that is."""
THUMBNAIL_FILES = re.compile(
    r"thumbs\.db|ehthumbs(_vista)?\.db|\.bridgecachet?|zbthumbnail\.info|pspbrwse\.jbf|\.thumbdata.*|thumbdata.*\.db"
)
TRASH = re.compile(r"\.trash-\d+")  # of a user, on Linux

SUFFIXES = {
    Kind.RAW: """3fr arw bay braw cr2 cr3 crw dcr dng eip erf fff gpr iiq kdc mef mos mrw nef nrw orf pef
        r3d raf raw rw2 rwl rwz sr2 srf srw x3f""",
    Kind.PICTURE: "jxl jxr wdp hdp psd psb xcf kra afphoto clip pdn pspimage heics heifs avifs tga pcx exr dcm",
    Kind.FILM: """3g2 3gp 360 asf avi divx dv f4v flv insv lrv m2t m2ts m4v mkv mod mov mp4 mpe mpeg mpg mts mxf ogm ogv qt rm rmvb tod
        vob webm wmv""",
    Kind.SIDECAR: "xmp aae pp3 dop vrd on1 cos cop arp nksc",
}
BY_SUFFIX = {f".{suffix}": kind for kind, suffixes in SUFFIXES.items() for suffix in suffixes.split()}
PICTURES = PHOTO_SUFFIXES | {suffix for suffix, kind in BY_SUFFIX.items() if kind in SHOW_PEOPLE}
COPIES = ("_unprotected", "_original", "~", ".bak", ".orig", ".old")  # ours, ExifTool's and others'
EASILY_MISTAKEN = {None, "BMP", "PPM"}  # formats that are told by two letters, with which a text may begin


@dataclass(frozen=True)
class LeftAlone:
    """A file or folder that is left as it is.

    Attributes:
        path: Its path, or `shard.tar: member`.
        kind: What it is.
        made_by: The program that wrote it, where the name tells.
        copied: Whether it is in the output as well, as what a shard holds.
    """

    path: str
    kind: Kind
    made_by: str = ""
    copied: bool = False

    def shows_people(self, in_place: bool) -> bool:
        """Whether it shows people of the photos as they were before, in spite of the protection."""
        return self.kind in SHOW_PEOPLE or ((in_place or self.copied) and self.kind in SHOW_ORIGINALS)


def of_file(file: Path) -> LeftAlone | None:
    """What a file is that is not looked for; None for what systems hide beside photos, which nobody misses."""

    def head() -> bytes:
        with contextlib.suppress(OSError):
            if stat.S_ISREG(file.stat().st_mode):  # a pipe would keep us waiting
                with file.open("rb") as opened:
                    return opened.read(HEAD)
        return b""

    kind = kind_of(file.name, head)
    return LeftAlone(str(file), kind) if kind else None


def kind_of(name: str, head: Callable[[], bytes]) -> Kind | None:
    """What a file or a tar's member is; None for what systems hide beside photos. `head` reads its first bytes."""
    path = PurePath(name)
    small, suffix = path.name.lower(), path.suffix.lower()
    if small.startswith("._") or PART_NAME.fullmatch(small):  # macOS's companions; what another call is writing
        return None
    if THUMBNAIL_FILES.fullmatch(small):
        return Kind.THUMBNAILS
    if kind := BY_SUFFIX.get(suffix):
        return kind
    if suffix == ".json":  # Google Takeout: `a.jpg.json`, `a.jpg.supplemental-metadata.json`, `a.jpg(1).json`
        middle = {"." + part.partition("(")[0] for part in small.split(".")[1:-1]}
        return Kind.SIDECAR if middle & PICTURES else Kind.OTHER
    format = containers.kind(head().ljust(32, b"\0"))
    if format not in EASILY_MISTAKEN or (format and suffix in PHOTO_SUFFIXES):
        return Kind.EARLIER if small.endswith(COPIES) else Kind.RENAMED
    return None if small.startswith(".") else Kind.OTHER


def of_folder(folder: Path) -> LeftAlone | None:
    """What a folder is that is not looked into; None for one that is."""
    name = folder.name.lower()
    kind, made_by = FOLDERS.get(name, (None, ""))
    if TRASH.fullmatch(name):
        kind, made_by = Kind.EARLIER, "Linux"
    elif kind is None and (folder.is_symlink() or name.startswith(".")):
        kind = Kind.LINKED if folder.is_symlink() else Kind.HIDDEN
    if kind in (Kind.EARLIER, Kind.HIDDEN, Kind.LINKED) and not _holds_pictures(folder):
        kind = Kind.SYSTEM
    return LeftAlone(str(folder), kind, made_by) if kind else None


def _holds_pictures(folder: Path) -> bool:
    """Whether there is a picture or a film in it; also if it holds too much to be looked through, or must not be."""
    names_seen, closed = 0, list[OSError]()
    for _, folders, names in os.walk(folder, onerror=closed.append):
        if any(PurePath(name).suffix.lower() in PICTURES for name in names):
            return True
        names_seen += len(folders) + len(names)
        if names_seen > MOST_NAMES:
            return True
    return bool(closed)


def of_unreadable(photo: Path) -> LeftAlone | None:
    """A HEIC photo where what reads them is not installed; None if it can be tried."""
    if photo.suffix.lower() not in HEIF or reads_heic():
        return None
    with contextlib.suppress(OSError), photo.open("rb") as file:
        if containers.kind(file.read(HEAD).ljust(32, b"\0")) == "HEIF":
            return LeftAlone(str(photo), Kind.HEIC)
    return None


@cache
def reads_heic() -> bool:
    """Whether what reads HEIC is installed."""
    return find_spec("pillow_heif") is not None


def describe(found: Iterable[LeftAlone]) -> list[str]:
    """One line a kind: how many, an example, and what to do or to know."""
    groups: dict[Kind, list[LeftAlone]] = {}
    for one in found:
        groups.setdefault(one.kind, []).append(one)
    lines = []
    for kind in (kind for kind in Kind if kind in groups):
        (first, *more), (singular, plural, advice) = groups[kind], WORDS[kind]
        example = first.path + (f" (of {first.made_by})" if first.made_by else "")
        counted = f"{len(more) + 1} {plural}, such as {example}" if more else f"1 {singular}, {example}"
        lines.append(f"{counted}; {advice}" if advice else counted)
    return lines
