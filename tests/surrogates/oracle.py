"""What a real pipeline hands its denoiser: run its own call and stop there. The reference every family is held to."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn


class _Recorded(Exception):
    pass


def record(denoiser: nn.Module, call: Callable[[], object], skip: int = 0) -> dict[str, Any]:
    """The arguments, by name, of the denoiser's call number `skip` (from 0) while `call` runs."""
    arguments: dict[str, Any] = {}
    left = skip

    def stop(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        nonlocal left
        if left:
            left -= 1
            return
        names = list(inspect.signature(type(module).forward).parameters)[1:]
        arguments.update(zip(names, args, strict=False), **kwargs)
        raise _Recorded

    handle = denoiser.register_forward_pre_hook(stop, with_kwargs=True)
    try:
        call()
    except _Recorded:
        pass
    finally:
        handle.remove()
    return arguments
