"""One job, whatever happens: a photo or a shard becomes its output, and the result says what became of each photo."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator

from anti_i2v import atomic
from anti_i2v.bulk.backends import Backend
from anti_i2v.bulk.partial import resume
from anti_i2v.bulk.photo import AlreadyProtectedError, protect_photo, reason
from anti_i2v.bulk.plan import Job
from anti_i2v.bulk.request import Request
from anti_i2v.bulk.result import Result, Status
from anti_i2v.bulk.shards import protect_shard
from anti_i2v.errors import UsageError


def run_job(backend: Backend, job: Job, request: Request, advance: Callable[[], object] = lambda: None) -> list[Result]:
    """Do one job, whatever happens; the result of its photo, or of each photo in its shard.

    A shard that is not written to its end has failed as a whole: none of its photos is there. A job that was cut off can be done again.

    Args:
        backend: What protects photos.
        job: What to do.
        request: What is asked.
        advance: Called after each photo.
    """
    begin = time.perf_counter()
    try:
        job = resume(job)
        with _backup(job):
            if job.is_shard:
                return protect_shard(backend, job.source, job.output, request, advance)
            measurement = protect_photo(backend, job.source, job.output, request)
            return [Result(str(job.source), str(job.output), Status.PROTECTED, measurement, seconds=time.perf_counter() - begin)]
    except AlreadyProtectedError as error:
        return [Result(str(job.source), None, Status.SKIPPED, reason=reason(error))]
    except Exception as error:  # whatever it is, the other photos must not wait for it
        return [Result(str(job.source), None, Status.FAILED, reason=reason(error))]
    finally:
        if not job.is_shard:
            advance()


@contextlib.contextmanager
def _backup(job: Job) -> Iterator[None]:
    """Keep the photo that is to be replaced; the backup is removed if the photo was not replaced."""
    if job.backup is None or job.backup == job.source:
        yield
        return
    before = job.output.stat()
    if job.backup.exists():  # of a call that was killed before it replaced the photo; a backup that is there is left alone
        yield
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
        yield
    finally:
        after = job.output.stat()
        if (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns):
            job.backup.unlink()
