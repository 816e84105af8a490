"""What a protected file takes from its source's entry in the file system: permissions, owner, tags and date.

A later call recognises the file by its date: a job is done if the output is there and has the date of its source, as in `rsync`. A
file of the same name with another date was made of another photo, or of an earlier state of this one.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import sys
from pathlib import Path

SECOND = 10**9
COARSE, FINE = 2 * SECOND, 1000  # nanoseconds between equal dates: memory cards store even seconds, some network drives microseconds


# What people and file managers say of a file: tags, comments, ratings, where it came from (freedesktop.org, KDE; Apple's as a NAS keeps
# them). No others: some are pictures of the photo as it was (resource forks), or sums of its bytes.
TAGS = re.compile(r"user\.(xdg|dublincore|baloo)\.|user\..*com\.apple\.(metadata:|FinderInfo)")
ACCESS_LIST = "system.posix_acl_access"


def copy_attributes(file: Path, source: Path, before: os.stat_result) -> None:
    """Give a file what its source has, as far as the system permits it; its owner may always write it.

    Args:
        file: The protected file.
        source: The photo's file.
        before: Of the source, from before it was read.
    """
    own = file.stat()
    if (own.st_uid, own.st_gid) != (before.st_uid, before.st_gid):
        for owner in (before.st_uid, -1):  # only root may give a file away, and everybody to a group that they are in
            with contextlib.suppress(OSError):
                os.chown(file, owner, before.st_gid)
                break
    _copy_tags(file, source)
    with contextlib.suppress(OSError):
        file.chmod(before.st_mode & 0o777 | stat.S_IWUSR)
    with contextlib.suppress(OSError):
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def _copy_tags(file: Path, source: Path) -> None:
    """Copy tags, and the list of who else has access: without it, the group would get what others were allowed."""
    if sys.platform != "linux":  # Python has no names for them elsewhere
        return
    with contextlib.suppress(OSError):
        for name in os.listxattr(source):
            if name == ACCESS_LIST or TAGS.match(name):
                with contextlib.suppress(OSError):
                    os.setxattr(file, name, os.getxattr(source, name))


def has_same_date(file: Path, source: Path) -> bool:
    """Whether a file has the date of its source; False if one of them is not there."""
    try:
        one, other = file.stat().st_mtime_ns, source.stat().st_mtime_ns
    except OSError:
        return False
    return abs(one - other) <= (FINE if one % SECOND and other % SECOND else COARSE)
