"""Jobs in threads of this process, which share a network on a GPU: Python runs other threads while one reads or writes a photo."""

from __future__ import annotations

from collections.abc import Sequence
from queue import SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING

from anti_i2v.bulk.job import run_job
from anti_i2v.bulk.protector import PhotoProtector
from anti_i2v.bulk.request import Request
from anti_i2v.bulk.results import Result

if TYPE_CHECKING:
    from anti_i2v.bulk.engines import Advance, JobResults
    from anti_i2v.bulk.plan import Job


def run_in_threads(protector: PhotoProtector, workers: int, jobs: Sequence[Job], request: Request, advance: Advance) -> JobResults:
    """Do jobs in several threads, which call the protector at once; `advance` is called in the thread that asks for the results."""
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
