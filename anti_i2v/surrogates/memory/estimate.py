"""The memory of a training step against a surrogate, without loading a weight.

The pipeline is built from its configuration files with fake tensors, which have shapes and no content, and the surrogate's
own code runs forward and backward on them. So every family is planned by the code that trains against it, and what layers
keep for their backward pass is counted rather than estimated.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import torch
from torch import Tensor, nn

from anti_i2v.surrogates.autoencoders.source import find_autoencoder
from anti_i2v.surrogates.base import LoadOptions, Surrogate
from anti_i2v.surrogates.draw import Draw
from anti_i2v.surrogates.loading import read_index
from anti_i2v.surrogates.memory.empty import TextShapes, default_dtype, empty_surrogate, network_maker
from anti_i2v.surrogates.memory.peak import LivePeak
from anti_i2v.surrogates.pipeline import PipelineSurrogate
from anti_i2v.surrogates.registry import find_family

GIB = 2**30


@dataclass(frozen=True)
class MemoryEstimate:
    """What one training step needs beside the generator, in bytes.

    Attributes:
        weights: Part of the pipeline → its weights.
        after_forward: What lies beside the weights when the forward pass is done.
        peak: The most that ever lies beside the weights at once.
        flops: Floating point operations of matrix products and convolutions, forward and backward.
    """

    weights: Mapping[str, int]
    after_forward: int
    peak: int
    flops: int

    @property
    def total(self) -> int:
        """Weights and the peak beside them."""
        return sum(self.weights.values()) + self.peak


def estimate_memory(
    source: str,
    taps: Sequence[str],
    height: int,
    width: int,
    num_frames: int,
    batch: int = 1,
    dtype: Literal["float32", "bfloat16"] = "float32",
    checkpointing: bool = False,
) -> MemoryEstimate:
    """Estimate a training step that reads features only: the protected photos' forward and backward pass.

    The step also looks at the clean photos, first and without a gradient, which needs less.

    Args:
        source: As in `Surrogate.from_pretrained`; of a pipeline on the hub only configuration files are fetched.
        taps: Likewise.
        height: Of the photos, in pixels.
        width: Likewise.
        num_frames: Length of the clips.
        batch: Photos in a step.
        dtype: Of the denoiser.
        checkpointing: Whether layers are computed again in the backward pass.

    Raises:
        UsageError: The source is no supported pipeline, or the other arguments do not fit it.
    """
    from torch._subclasses import fake_tensor
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    from anti_i2v.surrogates.memory.no_values import NoValues

    # With a shape environment code that depends on values (a check in a language model) is deferred instead of failing.
    fake = fake_tensor.FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv())
    with _ignore_missing_data(), NoValues():
        surrogate, texts = empty_surrogate(fake, source, LoadOptions(taps, height, width, num_frames, dtype=dtype))
        surrogate.keep_features_only()
        if checkpointing:
            surrogate.checkpoint_layers()
        with fake:
            inputs = _inputs(surrogate, texts, batch)
            networks = surrogate.pipeline.components if isinstance(surrogate, PipelineSurrogate) else {"vae": surrogate.vae}
            parts = {name: list(_tensors(part)) for name, part in networks.items() if isinstance(part, nn.Module)}
            with LivePeak([*chain(*parts.values()), *surrogate.buffers()]) as live:
                features = surrogate(*inputs)
                gc.collect()
                after_forward = live.now
                sum(value.square().mean() for value in features.values()).backward()
    weights = {name: sum(tensor.untyped_storage().nbytes() for tensor in tensors) for name, tensors in parts.items()}
    return MemoryEstimate({name: size for name, size in weights.items() if size}, after_forward, live.peak, live.flops)


def text_encoder_bytes(source: str, dtype: Literal["float32", "bfloat16"] = "float32") -> int:
    """Bytes of the text encoders, which training needs once, for its prompts; arguments as above.

    Raises:
        UsageError: The source is no supported pipeline.
    """
    from torch._subclasses import fake_tensor

    from anti_i2v.surrogates.memory.no_values import NoValues

    if find_autoencoder(source) is not None:
        return 0
    location, index = read_index(source)
    family, total = find_family(source, index), 0
    for name in family.text_encoders():
        entry = index.get(name)
        make = network_maker(location, name, str(entry[0]), str(entry[1]), {}) if isinstance(entry, (list, tuple)) and entry[0] else None
        if make is not None:
            with _ignore_missing_data(), NoValues(), fake_tensor.FakeTensorMode(), default_dtype(getattr(torch, dtype)):
                total += sum(tensor.numel() * tensor.element_size() for tensor in make().parameters())
    return total


def _tensors(part: nn.Module) -> Iterator[Tensor]:
    yield from part.parameters()
    yield from part.buffers()


def _inputs(surrogate: Surrogate, texts: TextShapes, batch: int) -> tuple[Tensor, dict[str, Tensor], Draw]:
    """Photos that require a gradient, text and a draw of the noisiest step."""
    photos = torch.rand(batch, 3, surrogate.height, surrogate.width, requires_grad=True)
    text = {name: torch.zeros(batch, *shape, dtype=dtype) for name, (shape, dtype) in texts.items()}
    return photos, text, surrogate.draw(batch, torch.Generator())


@contextmanager
def _ignore_missing_data() -> Iterator[None]:
    """Without torch's warning that a fake tensor has no data, which is the point of it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Accessing the data pointer of FakeTensor")
        yield
