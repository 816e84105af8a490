"""Jobs in several processes of one machine. Each does one job at a time; one that dies takes no other with it, and its job is known.

That is why these are plain processes with a pipe each: an executor of `concurrent.futures` ends all its processes when one dies, tells
neither whose job that was nor how it died, and waits for ever for the answer that a process was writing.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from types import FrameType
from typing import TYPE_CHECKING

from anti_i2v.bulk.job import sweep
from anti_i2v.bulk.results import Result, Status
from anti_i2v.errors import UsageError, UsageWarning

if TYPE_CHECKING:
    from anti_i2v.bulk.engines import Advance, JobResults
    from anti_i2v.bulk.plan import Job
    from anti_i2v.bulk.protector import PhotoProtector
    from anti_i2v.bulk.request import Request

GRACE_PERIOD = 10.0  # seconds for a process to end in good order
# Obeyed by torch and by what NumPy multiplies matrices with, if it is set when they start. More than one thread is hardly faster, and
# takes twice the processor time; on a machine that does other work as well, threads that wait for each other are many times slower.
THREADS = "OMP_NUM_THREADS"


def run_in_processes(
    load: Callable[[], PhotoProtector], workers: int, jobs: Sequence[Job], request: Request, advance: Advance
) -> JobResults:
    """Do jobs in several processes, each of which calls `load` once, which therefore can be pickled.

    A job whose process dies is done again when all others are done, alone, because it may have been memory that was short. If its
    process dies again, the job has failed.

    Raises:
        UsageError: A process cannot load what protects photos.
    """
    again = []
    pool = _Pool(lambda: _Worker(load, request), advance)
    try:
        for index, answer in pool.run(enumerate(jobs), workers):
            if isinstance(answer, list):
                yield index, answer
            else:
                again.append(index)
        for index in again:
            for _, answer in pool.run([(index, jobs[index])], 1):
                yield index, answer if isinstance(answer, list) else [_died(jobs[index], answer)]
    finally:
        pool.end()


def _died(job: Job, status: int | None) -> Result:
    """The result of a job that two processes died of, by the exit status of the second."""
    how = f"was killed by signal {-status}" if status is not None and status < 0 else f"ended with status {status}"
    advice = "; as systems do where memory is short: try fewer --workers" if status == -9 else ""
    return Result(str(job.source), None, Status.FAILED, reason=f"the process that protected it {how}, twice{advice}")


class _Worker:
    """A process that does one job at a time."""

    def __init__(self, load: Callable[[], PhotoProtector], request: Request) -> None:
        context = multiprocessing.get_context("spawn")  # the threads of torch and onnxruntime do not survive a fork
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other, load, request), daemon=True)
        with _environment():
            self.process.start()
        other.close()  # so that the pipe ends with the process
        self.index = -1
        self.job: Job | None = None  # that it does

    def start(self, index: int, job: Job) -> None:
        """Begin a job."""
        self.index, self.job = index, job
        with contextlib.suppress(OSError):  # it has died; its pipe will say so
            self.pipe.send(job)

    def receive(self) -> list[Result] | int | None:
        """The results of its job, or the exit status if it has died; None: one photo more is done.

        Raises:
            UsageError: It cannot load what protects photos.
        """
        try:
            message = self.pipe.recv()
        except (EOFError, OSError):
            return self.end()
        if isinstance(message, UsageError):
            raise message
        return message  # type: ignore[no-any-return]

    def end(self) -> int:
        """End the process, if it has not died, and remove what it leaves incomplete; its exit status."""
        self.process.join(GRACE_PERIOD)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.pipe.close()
        if self.job is not None:
            sweep([self.job], self.process.pid)
        return self.process.exitcode or 0


class _Pool:
    """Processes and what they do."""

    def __init__(self, start_worker: Callable[[], _Worker], advance: Advance) -> None:
        self.start_worker, self.advance = start_worker, advance
        self.idle: list[_Worker] = []
        self.busy: dict[Connection, _Worker] = {}

    def run(self, jobs: Iterable[tuple[int, Job]], most: int) -> Iterator[tuple[int, list[Result] | int]]:
        """Do jobs, at most so many at once; the index of each, and its results or the exit status of the process that died of it."""
        waiting = iter(jobs)
        while True:
            for index, job in itertools.islice(waiting, most - len(self.busy)):
                worker = self.idle.pop() if self.idle else self.start_worker()
                self.busy[worker.pipe] = worker
                worker.start(index, job)
            if not self.busy:
                return
            for pipe in wait(list(self.busy)):
                worker = self.busy[pipe]  # type: ignore[index]  # these are pipes
                answer = worker.receive()
                if answer is None:
                    self.advance()
                    continue
                del self.busy[worker.pipe]
                if isinstance(answer, list):
                    worker.job = None
                    self.idle.append(worker)
                yield worker.index, answer

    def end(self) -> None:
        """End all processes; a job that one of them is doing is left undone, with nothing incomplete."""
        workers = [*self.idle, *self.busy.values()]
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.end()


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """What a process inherits: one thread, and that it ignores Ctrl-C, to which the process that started it reacts for all."""
    is_set, main = THREADS in os.environ, threading.current_thread() is threading.main_thread()
    os.environ.setdefault(THREADS, "1")
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN) if main else None
    try:
        yield
    finally:
        if main:
            signal.signal(signal.SIGINT, handler)
        if not is_set:
            del os.environ[THREADS]


def _serve(pipe: Connection, load: Callable[[], PhotoProtector], request: Request) -> None:
    """What a process does: job after job, until its pipe is closed, also by the end of the process that started it."""
    from anti_i2v.bulk.job import run_job
    from anti_i2v.bulk.photo import reason, reuse_memory

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _exit)
    with contextlib.suppress(EOFError, OSError):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UsageWarning)  # the process that started this one has shown them
                protector = load()
        except Exception as error:
            pipe.send(UsageError(f"a process of --workers cannot begin: {reason(error)}"))
            return
        reuse_memory()
        while True:
            pipe.send(run_job(protector, pipe.recv(), request, lambda: pipe.send(None)))


def _exit(signum: int, frame: FrameType | None) -> None:
    sys.exit(0)  # through every `finally`
