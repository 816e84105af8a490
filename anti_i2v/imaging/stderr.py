"""Silence for libraries that write to standard error from C, past Python and its settings."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_users, _stderr = 0, -1


@contextmanager
def silence_stderr() -> Iterator[None]:
    """Nothing reaches standard error meanwhile; libtiff reports every damaged strip there, across progress bars.

    There is one for the whole process: the first thread that enters redirects it and the last that leaves restores it.
    """
    _redirect()
    try:
        yield
    finally:
        _restore()


def _redirect() -> None:
    global _users, _stderr
    with _lock:
        _users += 1
        if _users > 1:
            return
        try:
            _stderr = os.dup(2)
        except OSError:  # there is none to begin with
            _stderr = -1
            return
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        os.close(null)


def _restore() -> None:
    global _users
    with _lock:
        _users -= 1
        if _users == 0 and _stderr >= 0:
            os.dup2(_stderr, 2)
            os.close(_stderr)
