"""How many bytes of tensors are alive at once while something runs: the memory a device must have for it.

Every operation's outputs are counted until their storage is freed. With fake tensors, which have shapes and no content, this
tells in seconds what a model of billions of weights would need, on a machine that could not hold it.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry


class LivePeak(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of tensors made inside; their peak is what was alive at once.

    What an operation needs for itself while it runs (the workspace of a convolution) is not counted, nor what an allocator
    reserves without need.

    Args:
        existing: Tensors that exist already, such as weights: their views are not counted.

    Attributes:
        now: Bytes alive at the moment.
        peak: The most that were.
        flops: Floating point operations of matrix products, convolutions and attention so far, as torch counts them.
    """

    def __init__(self, existing: Iterable[Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now, self.peak, self.flops = 0, 0, 0
        self._storages: weakref.WeakKeyDictionary[torch.UntypedStorage, bool] = weakref.WeakKeyDictionary()
        for tensor in existing:
            self._storages[tensor.untyped_storage()] = True

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: Iterable[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        """Run an operation and count what it made."""
        result = func(*args, **(kwargs or {}))
        count = flop_registry.get(getattr(func, "overloadpacket", None))
        if count is not None:
            self.flops += int(count(*args, **(kwargs or {}), out_val=result))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._count(leaf.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage in self._storages:
            return
        self._storages[storage] = True
        size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._free, size)

    def _free(self, size: int) -> None:
        self.now -= size
