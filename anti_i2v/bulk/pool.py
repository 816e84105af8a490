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
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from types import FrameType
from typing import TYPE_CHECKING

from anti_i2v.bulk.partial import sweep
from anti_i2v.bulk.result import FAILED, Outcome
from anti_i2v.errors import UsageError

if TYPE_CHECKING:
    from anti_i2v.bulk.backends import Way
    from anti_i2v.bulk.jobs import Job
    from anti_i2v.bulk.photo import Task
    from anti_i2v.bulk.run import Done, Tick

PATIENCE = 10.0  # seconds for a process to leave what it does in good order
# Obeyed by torch and by what NumPy multiplies matrices with, if it is there when they start. More than one thread is hardly faster, and
# takes twice the time of the processor; on a machine that does other work as well, threads that wait for each other are many times slower.
THREADS = "OMP_NUM_THREADS"


def in_processes(make: Callable[[], Way], workers: int, jobs: Sequence[Job], task: Task, tick: Tick) -> Done:
    """Do jobs in several processes.

    A job whose process dies is done again when all others are done, alone, because it may have been memory that was short. If its
    process dies again, the job has failed.

    Args:
        make: Makes what protects photos, once in each process; it can be pickled.
        workers: How many processes.
        jobs: What to do.
        task: What is asked for every photo.
        tick: Called after each photo.

    Raises:
        UsageError: A process cannot make what protects photos.
    """
    again = []
    crew = _Crew(lambda: _Worker(make, task), tick)
    try:
        for place, answer in crew.do(enumerate(jobs), workers):
            if isinstance(answer, list):
                yield place, answer
            else:
                again.append(place)
        for place in again:
            for _, answer in crew.do([(place, jobs[place])], 1):
                yield place, answer if isinstance(answer, list) else [_died(jobs[place], answer)]
    finally:
        crew.end()


def _died(job: Job, status: int | None) -> Outcome:
    """The outcome of a job that two processes died of, by the exit status of the second."""
    how = f"was killed by signal {-status}" if status is not None and status < 0 else f"ended with status {status}"
    advice = "; as systems do where memory is short: try fewer --workers" if status == -9 else ""
    return Outcome(str(job.source), None, FAILED, reason=f"the process that protected it {how}, twice{advice}")


class _Worker:
    """A process that does one job at a time.

    Args:
        make: Makes what protects photos.
        task: What is asked for every photo.
    """

    def __init__(self, make: Callable[[], Way], task: Task) -> None:
        context = multiprocessing.get_context("spawn")  # the threads of torch and onnxruntime do not survive a fork
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other, make, task), daemon=True)
        with _environment():
            self.process.start()
        other.close()  # so that the pipe ends with the process
        self.place = -1
        self.job: Job | None = None  # that it does

    def give(self, place: int, job: Job) -> None:
        self.place, self.job = place, job
        with contextlib.suppress(OSError):  # it has died; its pipe will say so
            self.pipe.send(job)

    def answer(self) -> list[Outcome] | int | None:
        """The outcomes of its job, or the exit status if it has died; None: one photo more is done.

        Raises:
            UsageError: It cannot make what protects photos.
        """
        try:
            told = self.pipe.recv()
        except (EOFError, OSError):
            return self.end()
        if isinstance(told, UsageError):
            raise told
        return told  # type: ignore[no-any-return]

    def end(self) -> int:
        """End the process, if it has not died, and remove what it leaves incomplete; its exit status."""
        self.process.join(PATIENCE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.pipe.close()
        if self.job is not None:
            sweep([self.job], self.process.pid)
        return self.process.exitcode or 0


class _Crew:
    """Processes and what they do.

    Args:
        hire: Starts one.
        tick: Called after each photo.
    """

    def __init__(self, hire: Callable[[], _Worker], tick: Tick) -> None:
        self.hire, self.tick = hire, tick
        self.idle: list[_Worker] = []
        self.busy: dict[Connection, _Worker] = {}

    def do(self, jobs: Iterable[tuple[int, Job]], most: int) -> Iterator[tuple[int, list[Outcome] | int]]:
        """Do jobs, so many at once; each one's place, and its outcomes or the exit status of the process that died of it."""
        ahead = iter(jobs)
        while True:
            for place, job in itertools.islice(ahead, most - len(self.busy)):
                worker = self.idle.pop() if self.idle else self.hire()
                self.busy[worker.pipe] = worker
                worker.give(place, job)
            if not self.busy:
                return
            for pipe in wait(list(self.busy)):
                worker = self.busy[pipe]  # type: ignore[index]  # these are pipes
                answer = worker.answer()
                if answer is None:
                    self.tick()
                    continue
                del self.busy[worker.pipe]
                if isinstance(answer, list):
                    worker.job = None
                    self.idle.append(worker)
                yield worker.place, answer

    def end(self) -> None:
        """End all processes; a job that one of them is doing is left undone, with nothing incomplete."""
        workers = [*self.idle, *self.busy.values()]
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.end()


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """What a process inherits: one thread, and no ear for Ctrl-C, which the process that started it hears for all."""
    given, main = THREADS in os.environ, threading.current_thread() is threading.main_thread()
    os.environ.setdefault(THREADS, "1")
    heard = signal.signal(signal.SIGINT, signal.SIG_IGN) if main else None
    try:
        yield
    finally:
        if main:
            signal.signal(signal.SIGINT, heard)
        if not given:
            del os.environ[THREADS]


def _serve(pipe: Connection, make: Callable[[], Way], task: Task) -> None:
    """The life of a process: it ends with its pipe, and so with the process that started it."""
    from anti_i2v.bulk.photo import reason, reuse_memory
    from anti_i2v.bulk.run import protect_job

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    with contextlib.suppress(EOFError, OSError):
        try:
            protect = make().protect
        except Exception as error:
            pipe.send(UsageError(f"a process of --workers cannot begin: {reason(error)}"))
            return
        reuse_memory()
        while True:
            pipe.send(protect_job(protect, pipe.recv(), task, lambda: pipe.send(None)))


def _leave(signum: int, frame: FrameType | None) -> None:
    sys.exit(0)  # through every `finally`
