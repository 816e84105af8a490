"""Protectors whose process dies at a photo, as systems do to it where memory is short. Processes find them by import."""

from __future__ import annotations

import dataclasses
import os
import signal
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from PIL import Image

from anti_i2v.bulk.protectors import PhotoProtector, one_pass


def dying_protector(log: Path, deaths: dict[int, int], when: str = "protecting") -> PhotoProtector:
    """The default generator's one pass, which writes down what it is called for.

    Args:
        log: Gets a line for each photo: its width.
        deaths: Width of a photo at which the process is killed → how often.
        when: `protecting` it, `replacing` the file, or `answering`, in the middle of the answer.
    """
    protector = one_pass(None, "onnx")

    def protect(photo: Image.Image, epsilon: float) -> Image.Image:
        with log.open("a") as file:
            file.write(f"{photo.width}\n")
        if calls(log)[photo.width] <= deaths.get(photo.width, 0):
            if when == "protecting":
                end()
            elif when == "replacing":
                Path.replace = end  # type: ignore[assignment, method-assign]
            else:
                Connection._send = half  # type: ignore[attr-defined]
        return protector.protect(photo, epsilon)

    return dataclasses.replace(protector, protect=protect)


def failing_protector() -> PhotoProtector:
    """Cannot be loaded, and says how many threads it may use."""
    raise MemoryError(f"may use {os.environ['OMP_NUM_THREADS']} threads")


def calls(log: Path) -> Counter[int]:
    """How often a photo of each width was protected."""
    return Counter(map(int, log.read_text().split())) if log.exists() else Counter()


def end(*_: Any) -> None:
    """Kill this process."""
    os.kill(os.getpid(), signal.SIGKILL)


def half(self: Connection, message: Any, write: Any = os.write) -> None:
    """Write a message whole if it is short (one photo more is done); of an answer only the half."""
    short = len(message) < 100
    write(self.fileno(), bytes(message)[: None if short else len(message) // 2])
    if not short:
        end()
