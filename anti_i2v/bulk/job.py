"""One job: a photo or a shard becomes its output, complete or not at all, also after processes that died in the middle of it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from anti_i2v import atomic
from anti_i2v.bulk.photo import AlreadyProtectedError, protect_file, reason
from anti_i2v.bulk.plan import Job, job_in_place
from anti_i2v.bulk.protector import PhotoProtector
from anti_i2v.bulk.request import Request
from anti_i2v.bulk.reruns import settle
from anti_i2v.bulk.results import Result, Status
from anti_i2v.bulk.shards import protect_shard
from anti_i2v.errors import UsageError

ABANDONED = 60.0  # seconds in which nobody wrote; the process may be of another machine that sees the same folder


def run_job(protector: PhotoProtector, job: Job, request: Request, advance: Callable[[], object] = lambda: None) -> list[Result]:
    """Do one job, whatever happens; the result of its photo, or of each photo in its shard.

    A shard that is not written to its end has failed as a whole: none of its photos is there. A job that was cut off can be done again.
    """
    begin = time.perf_counter()
    try:
        job = resume(job)
        if not job.is_shard and (settled := settle(job, request, protector.secret)):
            return [settled]
        with _backup(job) as notes:
            if job.is_shard:
                return protect_shard(protector, job.source, job.output, request, advance)
            measurement = protect_file(protector, job.source, job.output, request)
            measurement = dataclasses.replace(measurement, notes=(*measurement.notes, *notes))
            return [Result(str(job.source), str(job.output), Status.PROTECTED, measurement, seconds=time.perf_counter() - begin)]
    except AlreadyProtectedError as error:
        return [Result(str(job.source), None, Status.SKIPPED, reason=reason(error))]
    except Exception as error:  # whatever it is, the other photos must not wait for it
        return [Result(str(job.source), None, Status.FAILED, reason=reason(error))]
    finally:
        if not job.is_shard:
            advance()


def resume(job: Job) -> Job:
    """A job in place as it is now: a try that was cut off may have replaced the photo already; then the backup is the source."""
    if job.backup is None or job.backup == job.source or not os.path.exists(job.backup):  # noqa: PTH110
        return job
    return job_in_place(job.output)


@contextlib.contextmanager
def _backup(job: Job) -> Iterator[tuple[str, ...]]:
    """Keep the photo that is to be replaced; the backup is removed if the photo was not replaced.

    Yields:
        Notes on what a user may not expect.
    """
    if job.backup is None or job.backup == job.source:
        yield ()
        return
    before = job.output.stat()
    is_there = os.path.exists(job.backup)  # noqa: PTH110  # pathlib raises an error for names that are too long
    names = before.st_nlink - (is_there and job.output.samefile(job.backup))
    notes = ("another name of the file, a hard link, still shows the photo as it was",) if names > 1 else ()
    if is_there:  # of a call that was killed before it replaced the photo; a backup that is there is left alone
        yield notes
        return
    try:
        os.link(job.output, job.backup)
    except OSError:  # the file system has no second names
        try:
            with atomic.write(job.backup) as part:
                shutil.copy2(job.output, part)
        except OSError as error:
            raise UsageError(
                f"cannot keep {job.output} as {job.backup.name}: {error.strerror}; give --out, or make the folder writable"
            ) from None
    try:
        yield notes
    finally:
        after = job.output.stat()
        if (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns):
            job.backup.unlink()


def sweep(jobs: Iterable[Job], pid: int | None = None) -> None:
    """Remove what processes that died have left of these jobs: incomplete files, and backups of photos that were not replaced.

    None of the jobs may be under way. `pid` is the process that died; any if None.
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
                digests[path.parent].add(atomic.digest(path))
    for folder, known in digests.items():
        with contextlib.suppress(OSError):
            for name in os.listdir(folder):  # noqa: PTH208  # a folder may hold millions, and names are enough
                match = atomic.PART_NAME.fullmatch(name)
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


def _is_untouched(job: Job) -> bool:
    return os.path.exists(job.output) and resume(job).source == job.output  # noqa: PTH110
