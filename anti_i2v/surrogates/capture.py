"""Reading the outputs of named layers of a network, and computing nothing beyond the deepest one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from torch import Tensor, nn

from anti_i2v.errors import UsageError
from anti_i2v.surrogates.draw import ERROR, denoiser_layers


class _AllRead(Exception):
    """Raised inside the network once the last tap has been read: nothing beyond it is needed."""


def describe_taps(model: nn.Module) -> str:
    """The taps of a network on one line, lists of blocks abbreviated: `blocks.0 … blocks.13, norm_out, proj_out`."""
    parts = []
    for name, child in model.named_children():
        if isinstance(child, nn.ModuleList):
            parts.append(f"{name}.0 … {name}.{len(child) - 1}" if len(child) > 1 else f"{name}.0")
        else:
            parts.append(name)
    return ", ".join(parts)


def check_taps(model: nn.Module, taps: Sequence[str]) -> tuple[str, ...]:
    """The taps without repetitions, in the order given.

    Raises:
        UsageError: No tap, or one that names no layer of `model` (a list of blocks is no layer).
    """
    layers = {name for name, module in model.named_modules() if name and not isinstance(module, nn.ModuleList)}
    if not taps:
        raise UsageError(f"no taps given; name at least one layer of {type(model).__name__}: {describe_taps(model)}")
    for tap in taps:
        if tap not in layers:
            raise UsageError(f"no tap {tap!r} in {type(model).__name__}; it has {describe_taps(model)} and their submodules")
    return tuple(dict.fromkeys(taps))


def read_layers(model: nn.Module, taps: Sequence[str], inputs: Mapping[str, object], early_exit: bool = True) -> dict[str, Tensor]:
    """Run a network and read the outputs of some of its layers.

    Args:
        model: The network.
        taps: Names of submodules, checked by `check_taps`; the empty name is the network itself.
        inputs: Keyword arguments of `model`.
        early_exit: Stop once every tap has been read. The features and their gradients are the same without.

    Returns:
        The output of every tap, in the order in which they are computed; of a tuple its first member, the video stream in every
        diffusers block but Cosmos 3's.

    Raises:
        UsageError: A tap exists but was not computed, or its output is not a tensor.
    """
    features: dict[str, Tensor] = {}

    def read(tap: str, output: object) -> None:
        if not isinstance(output, Tensor):
            raise UsageError(f"tap {tap!r} gives {type(output).__name__}, not a tensor; choose another layer")
        features[tap] = output
        if early_exit and len(features) == len(taps):
            raise _AllRead

    with _hooks(model, taps, read), suppress(_AllRead):
        model(**inputs)
    if missing := [tap for tap in taps if tap not in features]:
        raise UsageError(f"the forward pass never computes {', '.join(missing)}; choose other taps: {describe_taps(model)}")
    return features


@contextmanager
def record_layers(model: nn.Module, taps: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Read the outputs of some layers while a network runs inside the context, each the first time that it is computed.

    Args:
        model: The network.
        taps: Names of submodules, checked by `check_taps`.

    Raises:
        UsageError: At the end, a layer was not computed.
    """
    features: dict[str, Tensor] = {}

    def read(tap: str, output: object) -> None:
        if isinstance(output, Tensor):
            features.setdefault(tap, output)

    with _hooks(model, taps, read):
        yield features
    if missing := [tap for tap in taps if tap not in features]:
        raise UsageError(f"{type(model).__name__} gives no tensor at {', '.join(missing)} when it encodes a photo; choose other layers")


@contextmanager
def _hooks(model: nn.Module, taps: Sequence[str], read: Callable[[str, object], None]) -> Iterator[None]:
    """Call `read` with the name and the output of each layer that runs inside the context; of a tuple with its first member."""

    def hook(tap: str) -> Callable[[nn.Module, object, object], None]:
        return lambda module, args, output: read(tap, output[0] if isinstance(output, tuple) else output)

    handles = [model.get_submodule(tap).register_forward_hook(hook(tap)) for tap in taps]
    try:
        yield
    finally:  # a hook left behind would fire in every later use of the pipeline
        for handle in handles:
            handle.remove()


def count_blocks(taps: Sequence[str], block_lists: Mapping[str, str]) -> dict[str, int]:
    """How many blocks of a denoiser must be loaded for some taps.

    Args:
        taps: Of a surrogate; those that are no layers of the denoiser need no blocks, but `error` needs them all.
        block_lists: List of blocks → entry of the denoiser's configuration that holds its length, in the order of computation.

    Returns:
        Entry → number of blocks, for the list of the deepest tap and those behind it; nothing where a tap lies in none of
        the lists, because it may come after them all. Of the first list one block always stays: where no layer is read,
        the denoiser's device is still known.
    """
    order = list(block_lists)
    deepest = (0, 0)
    if ERROR in taps:
        return {}
    for tap in denoiser_layers(taps):
        name, _, number = tap.partition(".")
        if name not in block_lists or not number.split(".")[0].isdigit():
            return {}
        deepest = max(deepest, (order.index(name), int(number.split(".")[0])))
    last, block = deepest
    return {block_lists[name]: block + 1 if i == last else 0 for i, name in enumerate(order) if i >= last}
