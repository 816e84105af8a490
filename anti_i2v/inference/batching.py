"""One forward pass for the photos of several threads: a GPU takes as long for one photo as for a batch of them."""

from __future__ import annotations

from concurrent.futures import Future
from queue import Empty, SimpleQueue
from threading import Lock

import torch
from torch import Tensor

from anti_i2v.protector import Protector

BATCH = 16  # photos; more threads than cores seldom wait at once

Asked = tuple[Tensor, Tensor, Future[dict[str, Tensor]]]


class BatchingProtector(Protector):
    """A protector whose `protect` several threads may call at once.

    Whoever finds nobody at work runs the network for all who wait. Each pass is a whole batch, with grey in the places that nobody asked
    for: a photo gets the same bytes whoever asks beside it. They are within one 8-bit step of `Protector`'s.

    Args:
        protector: Whose network and epsilon it shares; on its device.
        batch: Photos of a pass.
    """

    def __init__(self, protector: Protector, batch: int = BATCH) -> None:
        super().__init__(protector.generator, protector.epsilon)
        self.to(next(protector.parameters()).device).eval()
        self.batch = batch
        self._waiting: SimpleQueue[Asked] = SimpleQueue()
        self._turn = Lock()

    def consider(self, image: Tensor, epsilon: Tensor) -> dict[str, Tensor]:
        """See `Protector.consider`; one photo, (1, 3, S, S) and (1,)."""
        mine: Future[dict[str, Tensor]] = Future()
        self._waiting.put((image, epsilon, mine))
        with self._turn:
            while not mine.done():
                self._pass()
        return mine.result()

    def _pass(self) -> None:
        """Answer the first who wait."""
        asked: list[Asked] = []
        try:
            while len(asked) < self.batch:
                asked.append(self._waiting.get_nowait())
        except Empty:
            pass
        try:
            empty = self.batch - len(asked)
            images = torch.cat([image for image, _, _ in asked] + [torch.full_like(asked[0][0], 0.5)] * empty)
            budgets = torch.cat([epsilon for _, epsilon, _ in asked] + [torch.ones_like(asked[0][1])] * empty)
            found = super().consider(images, budgets)
        except Exception as error:
            for _, _, answer in asked:
                answer.set_exception(error)
        else:
            for place, (_, _, answer) in enumerate(asked):
                answer.set_result({name: values[place : place + 1] for name, values in found.items()})
