"""Silence for libraries that write to the terminal from C, past Python and its settings."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_inside, _stderr = 0, -1


@contextmanager
def no_c_output() -> Iterator[None]:
    """Nothing arrives at the standard error meanwhile; libtiff tells there of every damaged strip, across progress bars.

    It is one for the whole process: the first thread that comes closes it and the last that leaves opens it again.
    """
    _close()
    try:
        yield
    finally:
        _open()


def _close() -> None:
    global _inside, _stderr
    with _lock:
        _inside += 1
        if _inside > 1:
            return
        try:
            _stderr = os.dup(2)
        except OSError:  # there is none to begin with
            _stderr = -1
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)


def _open() -> None:
    global _inside
    with _lock:
        _inside -= 1
        if _inside == 0 and _stderr >= 0:
            os.dup2(_stderr, 2)
            os.close(_stderr)
