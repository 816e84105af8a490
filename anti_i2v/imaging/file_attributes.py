"""What a protected file takes from its source's entry in the file system: permissions, owner and date.

A later call recognises the file by its date: a job is done if the output is there and has the date of its source, as in `rsync`. A
file of the same name with another date was made of another photo, or of an earlier state of this one.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

SECOND = 10**9
COARSE, FINE = 2 * SECOND, 1000  # nanoseconds between equal dates: memory cards store even seconds, some network drives microseconds


def copy_attributes(file: Path, source: os.stat_result) -> None:
    """Give a file what its source has, as far as the system permits it; its owner may always write it."""
    with contextlib.suppress(OSError):
        own = file.stat()
        if (own.st_uid, own.st_gid) != (source.st_uid, source.st_gid):
            os.chown(file, source.st_uid, source.st_gid)
    with contextlib.suppress(OSError):
        file.chmod(source.st_mode & 0o777 | stat.S_IWUSR)
    with contextlib.suppress(OSError):
        os.utime(file, ns=(source.st_atime_ns, source.st_mtime_ns))


def has_same_date(file: Path, source: Path) -> bool:
    """Whether a file has the date of its source; False if one of them is not there."""
    try:
        one, other = file.stat().st_mtime_ns, source.stat().st_mtime_ns
    except OSError:
        return False
    return abs(one - other) <= (FINE if one % SECOND and other % SECOND else COARSE)
