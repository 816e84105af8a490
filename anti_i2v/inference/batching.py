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

BATCH = 16  # photos; more threads than cores seldom wait at once


@dataclass(frozen=True)
class Request:
    """A photo that waits for a pass; see `Backend.propose`."""

    photo: Floats
    epsilon: np.float32
    answer: Future[dict[str, Floats]] = field(default_factory=Future)


class BatchingBackend(TorchBackend):
    """A torch backend whose `propose` several threads may call at once.

    A thread that finds no other at work runs the network for all that wait. Each pass is a whole batch, with grey in the free
    places: a photo gets the same bytes whatever is in the batch beside it. They are within one 8-bit step of `TorchBackend`'s.

    Args:
        generator: The network, on its device.
        batch: Photos of a pass.
    """

    def __init__(self, generator: Generator, batch: int = BATCH) -> None:
        super().__init__(generator)
        self.batch = batch
        self._waiting: SimpleQueue[Request] = SimpleQueue()
        self._turn = Lock()

    def propose(self, photo: Floats, epsilon: np.float32, key: Floats | None = None) -> dict[str, Floats]:
        request = Request(photo, epsilon)
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
            photos = np.full((self.batch, *requests[0].photo.shape), 0.5, np.float32)
            epsilon = np.ones(self.batch, np.float32)
            for place, request in enumerate(requests):
                photos[place], epsilon[place] = request.photo, request.epsilon
            parameters = self.propose_batch(photos, epsilon)
        except Exception as error:
            for request in requests:
                request.answer.set_exception(error)
        else:
            for place, request in enumerate(requests):
                request.answer.set_result({name: values[place] for name, values in parameters.items()})
