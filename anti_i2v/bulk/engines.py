"""What does the jobs of a call: this process, several of this machine, threads around a GPU, or Ray on many machines."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from functools import partial
from queue import SimpleQueue
from threading import Event, Thread

from anti_i2v.bulk.job import run_job
from anti_i2v.bulk.loading import load_protector
from anti_i2v.bulk.plan import Job
from anti_i2v.bulk.protector import PhotoProtector
from anti_i2v.bulk.request import Request
from anti_i2v.bulk.results import Result
from anti_i2v.keys import shared_source

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
    # Others use the secret of this process: a machine without it must fail, not make one of its own.
    load = partial(load_protector, replace(request, key=shared_source(request.key)) if request.method is None else request)
    if request.engine == "ray":
        from anti_i2v.bulk.ray import run_with_ray

        return partial(run_with_ray, load, request.workers or 1, int(protector.shared))
    if protector.shared and request.workers != 1:
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


def run_in_threads(protector: PhotoProtector, workers: int, jobs: Sequence[Job], request: Request, advance: Advance) -> JobResults:
    """Do jobs in threads of this process, which share a network on a GPU: Python runs other threads while one reads or writes a photo.

    They call the protector at once; `advance` is called in the thread that asks for the results.
    """
    todo: SimpleQueue[int] = SimpleQueue()
    messages: SimpleQueue[tuple[int, list[Result]] | BaseException | None] = SimpleQueue()
    stopping = Event()

    def photo_done() -> None:
        messages.put(None)
        if stopping.is_set():
            raise KeyboardInterrupt  # through every `finally`; nothing incomplete stays

    def serve() -> None:
        try:
            while (index := todo.get()) >= 0 and not stopping.is_set():
                messages.put((index, run_job(protector, jobs[index], request, photo_done)))
        except BaseException as error:  # the thread that asks must not wait for ever
            messages.put(error)

    threads = [Thread(target=serve) for _ in range(min(workers, len(jobs)))]
    for index in (*range(len(jobs)), *[-1] * len(threads)):
        todo.put(index)
    try:
        for thread in threads:
            thread.start()
        left = len(jobs)
        while left:
            message = messages.get()
            if message is None:
                advance()
            elif isinstance(message, BaseException):
                raise message
            else:
                left -= 1
                yield message
    finally:
        stopping.set()
        for thread in threads:
            thread.join()


def worthwhile_processes(protector: PhotoProtector, jobs: Sequence[Job]) -> int:
    """How many processes are worth their start and their memory."""
    if not protector.light:
        return 1
    shards = sum(job.is_shard for job in jobs)
    return max(1, min(_cores(), MAX_PROCESSES, shards + (len(jobs) - shards) // PHOTOS_PER_PROCESS))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
