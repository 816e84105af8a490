"""Answers for code that looks at the values of fake tensors, which have none: so that a plan runs through it.

Some denoisers sort the tokens of a prompt by its mask, cut them where it ends, or ask whether there is a photo at all. The
answers here are those of a photo that is there and a prompt that fills its room.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary


class NoValues(TorchFunctionMode):
    """Of fake tensors: a mask keeps everything, its inverse nothing; a cut cuts nothing off; every question is answered no."""

    def __init__(self) -> None:
        super().__init__()
        self._keep_nothing = WeakTensorKeyDictionary()

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        """Run a function of torch, or answer in its place."""
        name = getattr(func, "__name__", "")
        if name == "__bool__" and isinstance(args[0], FakeTensor):
            return False
        if name in ("__getitem__", "__setitem__"):
            whole, index, *value = args
            if name == "__getitem__" and isinstance(whole, Tensor) and isinstance(index, FakeTensor) and index.dtype == torch.bool:
                rows = whole.flatten(0, index.ndim - 1)
                return rows[:0] if index in self._keep_nothing else rows.clone()
            args = (whole, tuple(map(_uncut, index)) if isinstance(index, tuple) else _uncut(index), *value)
        made = func(*args, **(kwargs or {}))
        if name in ("__invert__", "bitwise_not", "logical_not") and isinstance(made, FakeTensor):
            self._keep_nothing[made] = True
        return made


def _uncut(index: object) -> object:
    """A slice that ends where a fake tensor says goes to the end."""
    return slice(index.start, None, index.step) if isinstance(index, slice) and isinstance(index.stop, FakeTensor) else index
