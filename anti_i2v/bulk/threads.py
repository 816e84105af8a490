"""Jobs in threads of this process, which share a network on a GPU: reading and writing photos leave Python to other threads."""

from __future__ import annotations

from collections.abc import Sequence
from queue import SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING

from anti_i2v.bulk.photo import Protect, Task
from anti_i2v.bulk.result import Outcome

if TYPE_CHECKING:
    from anti_i2v.bulk.jobs import Job
    from anti_i2v.bulk.run import Done, Tick


def in_threads(protect: Protect, workers: int, jobs: Sequence[Job], task: Task, tick: Tick) -> Done:
    """Do jobs in several threads.

    Args:
        protect: What makes a protected photo of a photo; several threads call it at once.
        workers: How many threads.
        jobs: What to do.
        task: What is asked for every photo.
        tick: Called after each photo, in the thread that asks for what is done.
    """
    from anti_i2v.bulk.run import protect_job

    todo: SimpleQueue[int] = SimpleQueue()
    told: SimpleQueue[tuple[int, list[Outcome]] | BaseException | None] = SimpleQueue()
    stopping = Event()

    def photo_done() -> None:
        told.put(None)
        if stopping.is_set():
            raise KeyboardInterrupt  # through every `finally`; nothing incomplete stays

    def serve() -> None:
        try:
            while (place := todo.get()) >= 0 and not stopping.is_set():
                told.put((place, protect_job(protect, jobs[place], task, photo_done)))
        except BaseException as error:  # the thread that asks must not wait for ever
            told.put(error)

    threads = [Thread(target=serve) for _ in range(min(workers, len(jobs)))]
    for place in (*range(len(jobs)), *[-1] * len(threads)):
        todo.put(place)
    try:
        for thread in threads:
            thread.start()
        left = len(jobs)
        while left:
            answer = told.get()
            if answer is None:
                tick()
            elif isinstance(answer, BaseException):
                raise answer
            else:
                left -= 1
                yield answer
    finally:
        stopping.set()
        for thread in threads:
            thread.join()
