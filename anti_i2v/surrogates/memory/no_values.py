"""Assumed values for fake tensors, which have none, so that an estimate runs through code that depends on values.

Some denoisers sort the tokens of a prompt by its mask, slice them where it ends, or test whether there is a photo at all. The
values assumed here are those of a photo that is there and a prompt as long as it may be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary


class NoValues(TorchFunctionMode):
    """For fake tensors: a mask keeps everything, its inverse nothing; a slice keeps everything; every truth value is False."""

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
        """Run a function of torch, or return what is assumed in its place."""
        name = getattr(func, "__name__", "")
        if name == "__bool__" and isinstance(args[0], FakeTensor):
            return False
        if name in ("__getitem__", "__setitem__"):
            whole, index, *value = args
            if name == "__getitem__" and isinstance(whole, Tensor) and isinstance(index, FakeTensor) and index.dtype == torch.bool:
                rows = whole.flatten(0, index.ndim - 1)
                return rows[:0] if index in self._keep_nothing else rows.clone()
            args = (whole, tuple(map(_whole_slice, index)) if isinstance(index, tuple) else _whole_slice(index), *value)
        result = func(*args, **(kwargs or {}))
        if name in ("__invert__", "bitwise_not", "logical_not") and isinstance(result, FakeTensor):
            self._keep_nothing[result] = True
        return result


def _whole_slice(index: object) -> object:
    """A slice to the end where a fake tensor would say the end."""
    return slice(index.start, None, index.step) if isinstance(index, slice) and isinstance(index.stop, FakeTensor) else index
