"""What a real pipeline hands its denoiser: run its own call and stop there. The reference every family is held to."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class _Done(Exception):
    """Raised inside the pipeline once enough calls were recorded."""


def record_calls(denoiser: nn.Module, call: Callable[[], object], limit: int | None = None) -> list[dict[str, Any]]:
    """The arguments, by name, of the denoiser's calls while `call` runs; of `limit` calls, it stops there."""
    calls: list[dict[str, Any]] = []

    def add(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        names = list(inspect.signature(type(module).forward).parameters)[1:]
        calls.append({**dict(zip(names, args, strict=False)), **kwargs})
        if len(calls) == limit:
            raise _Done

    handle = denoiser.register_forward_pre_hook(add, with_kwargs=True)
    try:
        call()
    except _Done:
        pass
    finally:
        handle.remove()
    return calls


def record(denoiser: nn.Module, call: Callable[[], object], skip: int = 0) -> dict[str, Any]:
    """The arguments, by name, of the denoiser's call number `skip` (from 0) while `call` runs."""
    return record_calls(denoiser, call, skip + 1)[skip]


def assert_close(actual: Tensor, expected: Tensor, share: float = 1e-4, name: str = "") -> None:
    """Equal but for a share of the largest value expected: another processor adds numbers up in another order."""
    atol = share * float(expected.detach().abs().max()) if expected.is_floating_point() and expected.numel() else 0.0
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0, msg=lambda message: f"{name}: {message}")
