"""What a protected file takes from its source's entry in the file system."""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

import pytest

from anti_i2v.imaging.file_attributes import ACCESS_LIST, copy_attributes


def pair(folder: Path) -> tuple[Path, Path]:
    paths = folder / "protected.jpg", folder / "photo.jpg"
    for path in paths:
        path.write_bytes(b"a photo")
    return paths


def test_a_shared_photo_stays_with_its_group_where_its_owner_cannot_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, source = pair(tmp_path)
    own, chown = file.stat(), os.chown
    group = next((group for group in os.getgroups() if group != own.st_gid), 5678)

    def as_an_ordinary_user(path: Path, owner: int, new: int) -> None:
        if owner not in (-1, own.st_uid):
            raise PermissionError(1, "Operation not permitted")
        chown(path, owner, new)

    monkeypatch.setattr(os, "chown", as_an_ordinary_user)
    fields = (*own[:4], own.st_uid + 1, group, *own[6:])
    try:
        chown(source, -1, group)
    except PermissionError:
        pytest.skip("this user is in one group only")
    copy_attributes(file, source, os.stat_result(fields, {"st_atime_ns": own.st_atime_ns, "st_mtime_ns": own.st_mtime_ns}))
    assert (file.stat().st_uid, file.stat().st_gid) == (own.st_uid, group)


@pytest.mark.skipif(sys.platform != "linux", reason="Python reads extended attributes on Linux only")
def test_tags_stay_and_a_preview_of_the_photo_as_it_was_does_not(tmp_path: Path) -> None:
    file, source = pair(tmp_path)
    finder = "user.DosStream.com.apple.metadata:_kMDItemUserTags:$DATA"
    tags = {"user.xdg.tags": b"family", "user.baloo.rating": b"8", "user.xdg.origin.url": b"https://example.org/a.jpg", finder: b"bplist00"}
    try:
        for name, value in {**tags, "user.com.apple.ResourceFork": b"a picture", "user.checksum.sha256": b"0123"}.items():
            os.setxattr(source, name, value)
    except OSError:
        pytest.skip("no extended attributes in this file system")
    copy_attributes(file, source, source.stat())
    assert {name: os.getxattr(file, name) for name in os.listxattr(file) if name.startswith("user.")} == tags


@pytest.mark.skipif(sys.platform != "linux", reason="POSIX access control lists are Linux's")
def test_who_else_has_access_stays_and_the_group_gets_no_more_than_it_had(tmp_path: Path) -> None:
    file, source = pair(tmp_path)
    nobody = 0xFFFFFFFF
    # Owner reads and writes, user 1234 too, the group reads, others nothing: the mode alone says that the group may write.
    rows = ((1, 6, nobody), (2, 6, 1234), (4, 4, nobody), (16, 6, nobody), (32, 0, nobody))
    access = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *row) for row in rows)
    try:
        os.setxattr(source, ACCESS_LIST, access)
    except OSError:
        pytest.skip("no access control lists in this file system")
    assert source.stat().st_mode & 0o777 == 0o660
    copy_attributes(file, source, source.stat())
    assert os.getxattr(file, ACCESS_LIST) == access
