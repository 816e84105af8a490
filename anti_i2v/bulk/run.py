"""The jobs of one call: each file is in place the moment it is done, and one bad file never stops the rest."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

from anti_i2v.bulk.jobs import Job
from anti_i2v.bulk.partial import resumed, sweep_abandoned
from anti_i2v.bulk.photo import AlreadyProtectedError, Protect, Task, protect_photo, reason
from anti_i2v.bulk.progress import Progress
from anti_i2v.bulk.result import FAILED, PROTECTED, SKIPPED, THERE, Outcome
from anti_i2v.bulk.shards import contents, protect_shard
from anti_i2v.errors import UsageError
from anti_i2v.imaging.writing import passing

Tick = Callable[[], object]
"""Called after each photo, whatever became of it."""

Done = Generator[tuple[int, list[Outcome]], None, None]
"""A job's place among the jobs, and what became of its photos; in the order in which they are done."""

Engine = Callable[[Sequence[Job], Task, Tick], Done]
"""What does jobs."""

LOOK = 3.0  # seconds for counting what is in shards


def nothing() -> None:
    """A tick that nobody counts."""


def in_turn(protect: Protect, jobs: Sequence[Job], task: Task, tick: Tick) -> Done:
    """One job after the other, in this process."""
    for place, job in enumerate(jobs):
        yield place, protect_job(protect, job, task, tick)


def run_jobs(engine: Engine, jobs: Sequence[Job], task: Task, done: list[Outcome], out: Path | None, overwrite: bool, quiet: bool) -> None:
    """Do all jobs.

    Args:
        engine: What does them.
        jobs: What to do.
        task: What is asked for every photo.
        done: Takes the outcomes in the order of the jobs, also when an interrupt ends them.
        out: The folder that nothing may be written outside of; None in place.
        overwrite: Do again what an earlier call did.
        quiet: Show no progress.
    """
    found: dict[int, list[Outcome]] = {}
    todo: dict[int, Job] = {}
    for place, job in enumerate(jobs):
        try:
            _check(job, out)
            if job.is_done and not overwrite:
                found[place] = [Outcome(str(job.output if job.backup else job.source), str(job.output), SKIPPED, reason=THERE)]
            elif job.obstacle and not overwrite:
                found[place] = [Outcome(str(job.source), None, FAILED, reason=job.obstacle)]
            else:
                todo[place] = job
        except UsageError as error:
            found[place] = [Outcome(str(job.source), None, FAILED, reason=reason(error))]
    places, left = list(todo), list(todo.values())
    sweep_abandoned(left)
    try:
        total = 0 if quiet else _photos(left, task.format)
        with Progress(total, quiet) as progress, contextlib.closing(engine(left, task, progress.tick)) as running:
            for place, outcomes in running:
                found[places[place]] = outcomes
    finally:
        done += [outcome for place in sorted(found) for outcome in found[place]]


def _photos(jobs: Sequence[Job], format: str) -> int:
    """How many photos there are; shards that it would take long to look through are judged by their size."""
    alone = sum(not job.is_shard for job in jobs)
    counted = seen = unseen = 0
    begin = time.monotonic()
    for job in (job for job in jobs if job.is_shard):
        with contextlib.suppress(UsageError, OSError):  # of which the job itself will tell
            size = job.source.stat().st_size
            if time.monotonic() - begin < LOOK:
                counted += contents(job.source, format).photos
                seen += size
            else:
                unseen += size
    return alone + counted + (round(unseen * counted / seen) if seen else 0)


def protect_job(protect: Protect, job: Job, task: Task, tick: Tick = nothing) -> list[Outcome]:
    """Do one job, whatever happens; the outcome of its photo, or of each photo in its shard.

    A shard that is not written through has failed as a whole: none of its photos is there. A job that was cut off can be done again.
    """
    begin = time.perf_counter()
    try:
        job = resumed(job)
        with _backed_up(job):
            if job.is_shard:
                return protect_shard(protect, job.source, job.output, task, tick)
            measured = protect_photo(protect, job.source, job.output, task)
            return [Outcome(str(job.source), str(job.output), PROTECTED, measured, seconds=time.perf_counter() - begin)]
    except AlreadyProtectedError as error:
        return [Outcome(str(job.source), None, SKIPPED, reason=reason(error))]
    except Exception as error:  # whatever it is, the other photos must not wait for it
        return [Outcome(str(job.source), None, FAILED, reason=reason(error))]
    finally:
        if not job.is_shard:
            tick()


def _check(job: Job, out: Path | None) -> None:
    """Refuse what would write somewhere that the user did not name.

    Raises:
        UsageError: A symbolic link on the way.
    """
    if out is not None and out.resolve() not in job.output.parent.resolve().parents and out.resolve() != job.output.parent.resolve():
        raise UsageError(f"{job.output.parent} leads out of --out {out} by a symbolic link; remove the link")


@contextlib.contextmanager
def _backed_up(job: Job) -> Generator[None, None, None]:
    """Keep the photo that is to be replaced; the copy goes again if the photo was not replaced."""
    if job.backup is None or job.backup == job.source:
        yield
        return
    before = job.output.stat()
    if job.backup.exists():  # of a call that was killed before it replaced the photo; whoever finds a copy leaves it
        yield
        return
    _keep(job.output, job.backup)
    try:
        yield
    finally:
        after = job.output.stat()
        if (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns):
            job.backup.unlink()


def _keep(photo: Path, backup: Path) -> None:
    """A second name for a photo, or a copy where the file system has no such thing: complete or not at all."""
    try:
        os.link(photo, backup)
    except OSError:
        part = passing(backup)
        try:
            shutil.copy2(photo, part)
            part.replace(backup)
        except OSError as error:
            raise UsageError(f"cannot keep {photo} as {backup.name}: {error.strerror}; give --out, or make the folder writable") from None
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
