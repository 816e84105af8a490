"""What a protected file takes over from its source beside pixels and metadata: who may read it, whose it is, and its date.

By the date a later call knows the file: it is done if it is there and has the date of its source, as `rsync` goes by. A file of the same
name that has another date is of another photo, or of an earlier state of this one.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

SECOND = 10**9
COARSE, FINE = 2 * SECOND, 1000  # nanoseconds between dates that are the same: memory cards keep even seconds, some networks microseconds


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
        one, other = file.stat().st_mtime_ns, source.stat().st_mtime_ns
    except OSError:
        return False
    return abs(one - other) <= (FINE if one % SECOND and other % SECOND else COARSE)
