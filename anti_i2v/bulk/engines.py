"""What does the jobs of a call: this process, several of this machine, threads around a GPU, or Ray on many machines."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from functools import partial

from anti_i2v.bulk.job import run_job
from anti_i2v.bulk.loading import load_protector
from anti_i2v.bulk.plan import Job
from anti_i2v.bulk.protector import PhotoProtector
from anti_i2v.bulk.request import Request
from anti_i2v.bulk.results import Result

Advance = Callable[[], object]
"""Called after each photo, whatever became of it."""

JobResults = Generator[tuple[int, list[Result]], None, None]
"""A job's index among the jobs, and what became of its photos; in the order in which they are done."""

Engine = Callable[[Sequence[Job], Request, Advance], JobResults]
"""What does jobs."""

MAX_PROCESSES = 4  # unless the user asks for more: each takes some hundred megabytes for large photos
PHOTOS_PER_PROCESS = 8  # at least; it takes half a second to start one


def choose_engine(request: Request, protector: PhotoProtector, jobs: Sequence[Job]) -> Engine:
    """The engine that a request asks for; `protector` is that of this process."""
    load = partial(load_protector, request)
    if request.engine == "ray":
        from anti_i2v.bulk.ray import run_with_ray

        return partial(run_with_ray, load, request.workers or 1, int(protector.shared))
    if protector.shared and request.workers != 1:
        from anti_i2v.bulk.threads import run_in_threads

        return partial(run_in_threads, protector, request.workers or _cores())
    workers = request.workers or worthwhile_processes(protector, jobs)
    if workers > 1:
        from anti_i2v.bulk.pool import run_in_processes

        return partial(run_in_processes, load, workers)
    return partial(run_in_turn, protector)


def run_in_turn(protector: PhotoProtector, jobs: Sequence[Job], request: Request, advance: Advance) -> JobResults:
    """One job after the other, in this process."""
    for index, job in enumerate(jobs):
        yield index, run_job(protector, job, request, advance)


def worthwhile_processes(protector: PhotoProtector, jobs: Sequence[Job]) -> int:
    """How many processes are worth their start and their memory."""
    if not protector.light:
        return 1
    shards = sum(job.is_shard for job in jobs)
    return max(1, min(_cores(), MAX_PROCESSES, shards + (len(jobs) - shards) // PHOTOS_PER_PROCESS))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
