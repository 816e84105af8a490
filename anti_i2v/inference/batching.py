"""One forward pass for the photos of several threads: a GPU takes as long for one photo as for a batch of them."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Lock

import numpy as np

from anti_i2v.generators.base import Generator
from anti_i2v.imaging.cielab import Floats
from anti_i2v.inference.torch_backend import TorchBackend

BATCH = 16  # windows; more threads than cores seldom wait at once


@dataclass(frozen=True)
class Request:
    """A window that waits for a pass; see `Backend.propose`."""

    window: Floats
    epsilon: np.float32
    key: Floats
    answer: Future[dict[str, Floats]] = field(default_factory=Future)


class BatchingBackend(TorchBackend):
    """A torch backend whose `propose` several threads may call at once.

    A thread that finds no other at work runs the network for all that wait. Each pass is a whole batch, with grey in the free
    places: a window gets the same bytes whatever is in the batch beside it. They are within one 8-bit step of `TorchBackend`'s.

    Args:
        generator: The network, on its device.
        batch: Windows of a pass.
    """

    def __init__(self, generator: Generator, batch: int = BATCH) -> None:
        super().__init__(generator)
        self.batch = batch
        self._waiting: SimpleQueue[Request] = SimpleQueue()
        self._turn = Lock()

    def find(self, copy: Floats) -> Floats:
        with self._turn:
            return super().find(copy)

    def propose(self, window: Floats, epsilon: np.float32, key: Floats) -> dict[str, Floats]:
        request = Request(window, epsilon, key)
        self._waiting.put(request)
        with self._turn:
            while not request.answer.done():
                self._run_batch()
        return request.answer.result()

    def _run_batch(self) -> None:
        """Answer the first requests that wait."""
        requests: list[Request] = []
        try:
            while len(requests) < self.batch:
                requests.append(self._waiting.get_nowait())
        except Empty:
            pass
        try:
            windows = np.full((self.batch, *requests[0].window.shape), 0.5, np.float32)
            epsilon, keys = np.ones(self.batch, np.float32), np.zeros((self.batch, *requests[0].key.shape), np.float32)
            for place, request in enumerate(requests):
                windows[place], epsilon[place], keys[place] = request.window, request.epsilon, request.key
            parameters = self.propose_batch(windows, epsilon, keys)
        except Exception as error:
            for request in requests:
                request.answer.set_exception(error)
        else:
            for place, request in enumerate(requests):
                request.answer.set_result({name: values[place] for name, values in parameters.items()})
