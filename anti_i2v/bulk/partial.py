"""Incomplete files that are left when a process dies, and how a job that was cut off is taken up again."""

from __future__ import annotations

import contextlib
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from anti_i2v.atomic import PART_NAME, digest
from anti_i2v.bulk.plan import Job, job_in_place
from anti_i2v.errors import UsageError

ABANDONED = 60.0  # seconds in which nobody wrote; the process may be of another machine that sees the same folder


def sweep(jobs: Iterable[Job], pid: int | None = None) -> None:
    """Remove what processes that died have left of these jobs: incomplete files, and backups of photos that were not replaced.

    Args:
        jobs: None of them is being done.
        pid: The process; any if None.
    """
    jobs = list(jobs)
    for job in jobs:
        if job.backup is not None and job.backup != job.source and _is_untouched(job):
            job.backup.unlink(missing_ok=True)
    for part, writer in _parts(jobs):
        if pid in (None, writer):
            part.unlink(missing_ok=True)


def sweep_abandoned(jobs: Iterable[Job]) -> None:
    """Remove incomplete files that earlier calls left because they were killed; not those of another call that runs now."""
    for part, writer in _parts(jobs):
        with contextlib.suppress(OSError):
            if time.time() - part.stat().st_mtime > ABANDONED and not _is_running(writer):
                part.unlink()


def _parts(jobs: Iterable[Job]) -> Iterator[tuple[Path, int]]:
    """Incomplete files of these jobs, and the processes that write them."""
    digests = defaultdict(set)
    for job in jobs:
        for path in (job.output, job.backup):
            if path is not None:
                digests[path.parent].add(digest(path))
    for folder, known in digests.items():
        with contextlib.suppress(OSError):
            for name in os.listdir(folder):  # noqa: PTH208  # a folder may hold millions, and names are enough
                match = PART_NAME.fullmatch(name)
                if match and match[1] in known:
                    yield folder / name, int(match[2])


def _is_running(pid: int) -> bool:
    if os.name == "nt":  # where asking would end it
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def resume(job: Job) -> Job:
    """A job in place as it is now: a try that was cut off may have replaced the photo already; then the backup is the source."""
    if job.backup is None or job.backup == job.source or not os.path.exists(job.backup):  # noqa: PTH110
        return job
    return job_in_place(job.output)


def _is_untouched(job: Job) -> bool:
    try:
        return os.path.exists(job.output) and resume(job).source == job.output  # noqa: PTH110
    except UsageError:  # somebody else has changed it
        return False
