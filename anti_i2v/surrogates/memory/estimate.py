"""The memory of a training step against a surrogate, without loading a weight.

The pipeline is built from its configuration files with fake tensors, which have shapes and no content, and the surrogate's
own code runs forward and backward on them. So every family is planned by the code that trains against it, and what layers
keep for their backward pass is counted rather than estimated.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from anti_i2v.surrogates.base import Surrogate
from anti_i2v.surrogates.capture import count_blocks
from anti_i2v.surrogates.draw import Draw
from anti_i2v.surrogates.loading import SAFETY_CHECKER, cap_counts, llama_tokenizers, pipeline_class, read_index, split_revision
from anti_i2v.surrogates.memory.peak import LivePeak
from anti_i2v.surrogates.registry import find_family

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

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
        location, index = read_index(source)
        family = find_family(source, index)
        assert issubclass(family, Surrogate)
        num_blocks = dict.fromkeys(family.denoiser_names, count_blocks(taps, family.block_lists))
        without = (*family.unused_parts, *family.text_encoders())
        pipeline = build_empty(fake, location, getattr(torch, dtype), without, num_blocks)
        surrogate = family(pipeline, taps, height, width, num_frames, 20)
        surrogate.keep_features_only()
        if checkpointing:
            surrogate.checkpoint_layers()
        # What depends on values is decided now: fake tensors have none.
        texts, expert = surrogate.text_shapes(), surrogate.denoiser_at(surrogate.timesteps[0])
        surrogate.denoiser_at = lambda timestep: expert  # type: ignore[method-assign]
        with fake:
            inputs = _inputs(surrogate, texts, batch)
            parts = {name: list(_tensors(part)) for name, part in pipeline.components.items() if isinstance(part, nn.Module)}
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

    location, index = read_index(source)
    family, total = find_family(source, index), 0
    for name in family.text_encoders():
        entry = index.get(name)
        make = _network(location, name, str(entry[0]), str(entry[1]), {}) if isinstance(entry, (list, tuple)) and entry[0] else None
        if make is not None:
            with _ignore_missing_data(), NoValues(), fake_tensor.FakeTensorMode(), _default_dtype(getattr(torch, dtype)):
                total += sum(tensor.numel() * tensor.element_size() for tensor in make().parameters())
    return total


def _tensors(part: nn.Module) -> Iterator[Tensor]:
    yield from part.parameters()
    yield from part.buffers()


def _inputs(
    surrogate: Surrogate, texts: Mapping[str, tuple[tuple[int, ...], torch.dtype]], batch: int
) -> tuple[Tensor, dict[str, Tensor], Draw]:
    """Photos that require a gradient, text and a draw of the noisiest step."""
    photos = torch.rand(batch, 3, surrogate.height, surrogate.width, requires_grad=True)
    text = {name: torch.zeros(batch, *shape, dtype=dtype) for name, (shape, dtype) in texts.items()}
    return photos, text, surrogate.draw_at(0, batch, torch.Generator())


def build_empty(
    within: AbstractContextManager[object],
    location: str,
    dtype: torch.dtype = torch.float32,
    without: Sequence[str] = (),
    num_blocks: Mapping[str, Mapping[str, int]] | None = None,
) -> DiffusionPipeline:
    """The pipeline at a location as it is configured, without reading weights; everything that is no network is as it is.

    Args:
        within: What networks are built in: a mode of fake tensors, or a device, where their weights are random.
        location: As in `load_pipeline`, also the other arguments.
        dtype: Of the weights.
        without: Parts to leave out.
        num_blocks: Denoiser's name in the pipeline → entry of its configuration → how many blocks to build.
    """
    _, index = read_index(location)
    parts: dict[str, object] = {name: None for name in (*without, SAFETY_CHECKER) if name in index}
    parts |= {name: part for name, part in llama_tokenizers(location, index).items() if name not in parts}
    for name, entry in index.items():
        if name.startswith("_") or name in parts:
            continue
        if not isinstance(entry, (list, tuple)):
            parts[name] = entry
        elif entry[0] is None:
            parts[name] = None
        else:
            make = _network(location, name, str(entry[0]), str(entry[1]), (num_blocks or {}).get(name, {}))
            if make is None:
                parts[name] = _other(location, name, str(entry[0]), str(entry[1]))
            else:
                part_dtype = torch.float32 if name in ("vae", "image_encoder") else dtype
                with within, _default_dtype(part_dtype):
                    parts[name] = _as_loaded(make(), part_dtype)
    return pipeline_class(index)(**parts)


def _network(location: str, name: str, library: str, class_name: str, counts: Mapping[str, int]) -> Callable[[], nn.Module] | None:
    """What builds a network from its configuration; None for a part that is none."""
    import diffusers
    import transformers

    path, revision = split_revision(location)
    if library != "transformers":  # diffusers itself, or one of its pipelines, by the pipeline's name
        network = getattr(diffusers if library == "diffusers" else getattr(diffusers.pipelines, library), class_name)
        if not issubclass(network, diffusers.ModelMixin):
            return None
        config = network.load_config(path, subfolder=name, **revision)
        capped = {**config, **cap_counts(config, counts)}
        return lambda: network.from_config(capped)
    model: Any = getattr(transformers, class_name)
    if not hasattr(model, "config_class"):
        return None
    settings = model.config_class.from_pretrained(path, subfolder=name, use_safetensors=True, **revision)
    settings.dtype = None  # that of the file; a model is loaded in the type that its caller chooses
    return lambda: model(settings)


def _other(location: str, name: str, library: str, class_name: str) -> object:
    """A scheduler, processor or tokenizer, as it is."""
    import diffusers
    import transformers

    path, revision = split_revision(location)
    return getattr(diffusers if library == "diffusers" else transformers, class_name).from_pretrained(
        path, subfolder=name, use_safetensors=True, **revision
    )


def _as_loaded(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The network with buffers that come from its files in their type; some are made in float64 whatever the default is."""
    for module in network.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.is_floating_point() and name not in module._non_persistent_buffers_set:
                setattr(module, name, buffer.to(dtype))
    return network


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Weights are made in a type rather than cast to it, which fake ones cannot be."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def _ignore_missing_data() -> Iterator[None]:
    """Without torch's warning that a fake tensor has no data, which is the point of it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Accessing the data pointer of FakeTensor")
        yield
