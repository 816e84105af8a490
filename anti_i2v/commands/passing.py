"""Files that are there only until they are complete, and what is left of them when a process dies."""

from __future__ import annotations

import contextlib
import os
import re
from collections import defaultdict
from collections.abc import Iterable

from anti_i2v.commands.sources import Job, in_place
from anti_i2v.files.writing import stem

PART = re.compile(r"\.([0-9a-f]{12})\.(\d+)\.part")


def sweep(jobs: Iterable[Job], pid: int | None = None) -> None:
    """Remove what processes that died have left of these jobs: incomplete files, and copies of photos that were not replaced.

    Args:
        jobs: None of them is being done.
        pid: The process; any if None.
    """
    stems = defaultdict(set)
    for job in jobs:
        for path in (job.output, job.backup):
            if path is not None:
                stems[path.parent].add(stem(path))
        if job.backup is not None and job.backup != job.source and _is_untouched(job):
            job.backup.unlink(missing_ok=True)
    for folder, known in stems.items():
        with contextlib.suppress(OSError):
            for name in os.listdir(folder):  # noqa: PTH208  # a folder may hold millions, and names are enough
                found = PART.fullmatch(name)
                if found and found[1] in known and pid in (None, int(found[2])):
                    (folder / name).unlink(missing_ok=True)


def resumed(job: Job) -> Job:
    """A job in place as it is by now: a try that was cut off may have replaced the photo already; then the kept one is the source."""
    if job.backup is None or job.backup == job.source or not os.path.exists(job.backup):  # noqa: PTH110
        return job
    return in_place(job.output)


def _is_untouched(job: Job) -> bool:
    return os.path.exists(job.output) and resumed(job).source == job.output  # noqa: PTH110
