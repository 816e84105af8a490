"""What a protected file takes over from its source beside pixels and metadata: who may read it, whose it is, and its date.

By the date a later call knows the file: it is done if it is there and has the date of its source, as `rsync` goes by. A file of the same
name that has another date is of another photo, or of an earlier state of this one.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

WINDOW = 2.0  # seconds between dates that are the same: memory cards keep even ones only


def inherit(file: Path, source: os.stat_result) -> None:
    """Give a file what its source has, as far as the system lets us; its owner may always write it."""
    with contextlib.suppress(OSError):
        own = file.stat()
        if (own.st_uid, own.st_gid) != (source.st_uid, source.st_gid):
            os.chown(file, source.st_uid, source.st_gid)
    with contextlib.suppress(OSError):
        file.chmod(source.st_mode & 0o777 | stat.S_IWUSR)
    with contextlib.suppress(OSError):
        os.utime(file, ns=(source.st_atime_ns, source.st_mtime_ns))


def is_heir(file: Path, source: Path) -> bool:
    """Whether a file has the date of its source; not if one of them is not there."""
    try:
        return abs(file.stat().st_mtime - source.stat().st_mtime) <= WINDOW
    except OSError:
        return False
