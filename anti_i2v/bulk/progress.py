"""How far a call is, its rate and the time left: a bar in a terminal, a line every ten seconds where there is none."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from tqdm import tqdm

INTERVAL = 10.0  # seconds between lines that go to a file


class Progress:
    """Counts photos; use it as a context.

    Args:
        total: Photos to do; a bar for fewer than two would say nothing.
        quiet: Show nothing.
    """

    def __init__(self, total: int, quiet: bool) -> None:
        self.total = total
        self.silent = quiet or total < 2
        self.lines = not sys.stderr.isatty()
        self.done = 0
        self.begin = self.last_line = time.monotonic()
        self.bar = tqdm(total=total, unit="photo", disable=self.silent or self.lines)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.bar.close()

    def advance(self) -> None:
        """One photo more is done, whatever became of it."""
        self.done += 1
        self.bar.update()
        now = time.monotonic()
        if self.lines and not self.silent and now - self.last_line >= INTERVAL:
            self.last_line = now
            print(tqdm.format_meter(self.done, self.total, now - self.begin, ncols=0, unit="photo"), file=sys.stderr, flush=True)
