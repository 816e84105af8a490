"""What a second call makes of a file that is there already and has another date than its source: the mark in it may know the source.

A folder that was copied without its dates is found done, although no date says so. Only then is a source read for it.
"""

from __future__ import annotations

import contextlib
import hmac
import os
from pathlib import Path

from anti_i2v.bulk.plan import Job
from anti_i2v.bulk.request import Request
from anti_i2v.bulk.results import DONE_BEFORE, Result, Status
from anti_i2v.errors import UsageError
from anti_i2v.imaging.metadata.statements import find_source
from anti_i2v.keys import PUBLIC_KEY, load_secret, shared_source, source_digest


def done_before(job: Job) -> Result:
    """The result of a job that an earlier call has done."""
    return Result(str(job.output if job.backup else job.source), str(job.output), Status.SKIPPED, reason=DONE_BEFORE)


def settle(job: Job, request: Request, secret: bytes = b"") -> Result | None:
    """What is to be said of a job without doing it; None: it is to be done.

    An output that turns out to be made of its source gets its date, by which the next call is fast. In place it does not, and with
    `overwrite` no mark is asked: a mark knows what a photo was made of, but not whether that was edited since, and an edit would be lost.

    Args:
        job: As it is now.
        request: The call's.
        secret: Of the digests in marks; shards bear none.
    """
    if not (obstacle := job.obstacle) or (request.overwrite and not job.backup):
        return None
    if not request.overwrite and not job.is_shard and was_made_of(job.output, job.source, secret):
        if not request.dry_run and job.backup is None:  # in place it may be an edit, which --overwrite must go on to refuse
            with contextlib.suppress(OSError):
                date = job.source.stat()
                os.utime(job.output, ns=(date.st_atime_ns, date.st_mtime_ns))
        return done_before(job)
    return Result(str(job.output if job.backup else job.source), None, Status.FAILED, reason=obstacle)


def existing_secret(request: Request) -> bytes:
    """The secret that a call would use if it is there, the public one if not: who only asks makes none."""
    if request.method is None or request.method.refine is not None:
        with contextlib.suppress(UsageError):
            return load_secret(shared_source(request.key))
    return PUBLIC_KEY


def was_made_of(output: Path, source: Path, secret: bytes) -> bool:
    """Whether the mark of a file says so, of the source as it is now; False if it cannot be read."""
    with contextlib.suppress(OSError):
        if not (output.is_file() and source.is_file()):  # a pipe would keep us waiting
            return False
        with output.open("rb") as file:
            digest = find_source(file)
        if digest:
            with source.open("rb") as file:
                return hmac.compare_digest(digest, source_digest(secret, file))
    return False
