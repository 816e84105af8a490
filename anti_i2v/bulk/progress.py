"""How far a call is, its rate and the time left: a bar in a terminal, a line every ten seconds where there is none."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

INTERVAL = 10.0  # seconds between lines that go to a file


@contextmanager
def show_progress(total: int, quiet: bool) -> Iterator[Callable[[], None]]:
    """Show progress while the context lasts.

    Args:
        total: Photos to do; a bar for fewer than two would say nothing.
        quiet: Show nothing.

    Yields:
        To be called after each photo, whatever became of it.
    """
    if quiet or total < 2:
        yield lambda: None
        return
    from tqdm import tqdm  # late: it takes as long to import as a small photo to protect

    lines = not sys.stderr.isatty()
    begin = last_line = time.monotonic()
    done = 0

    def advance() -> None:
        nonlocal done, last_line
        done += 1
        bar.update()
        now = time.monotonic()
        if lines and now - last_line >= INTERVAL:
            last_line = now
            print(tqdm.format_meter(done, total, now - begin, ncols=0, unit="photo"), file=sys.stderr, flush=True)

    with tqdm(total=total, unit="photo", disable=lines) as bar:
        yield advance
