"""Will it fit: the memory of a training step against a surrogate, without loading a weight.

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
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from anti_i2v.surrogates.base import Surrogate
from anti_i2v.surrogates.capture import blocks_needed
from anti_i2v.surrogates.draw import Draw
from anti_i2v.surrogates.loading import SAFETY_CHECKER, llama_tokenizers, no_more_than, pipeline_class, read_index, where
from anti_i2v.surrogates.memory.peak import LivePeak
from anti_i2v.surrogates.registry import family_of

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

GIB = 2**30


@dataclass(frozen=True)
class Need:
    """What one training step needs beside the generator, in bytes.

    Attributes:
        weights: Part of the pipeline → its weights.
        kept: What lies beside the weights when the forward pass is done.
        peak: The most that ever lies beside the weights at once.
        flops: Floating point operations of matrix products and convolutions, forward and backward.
    """

    weights: Mapping[str, int]
    kept: int
    peak: int
    flops: int

    @property
    def total(self) -> int:
        """Weights and the peak beside them."""
        return sum(self.weights.values()) + self.peak


def measure_need(
    source: str,
    taps: Sequence[str],
    height: int,
    width: int,
    num_frames: int,
    batch: int = 1,
    dtype: Literal["float32", "bfloat16"] = "float32",
    checkpointing: bool = False,
) -> Need:
    """Plan a training step that reads features only: the protected photos' forward and backward pass.

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

    # With a shape environment a look at values (a check in a language model) is put off instead of failing.
    fake = fake_tensor.FakeTensorMode(allow_non_fake_inputs=True, shape_env=ShapeEnv())
    with _quiet(), NoValues():
        location, index = read_index(source)
        family = family_of(source, index)
        blocks = dict.fromkeys(family.denoiser_names, blocks_needed(taps, family.block_lists))
        without = (*family.never_loaded, *family.text_encoders())
        pipeline = skeleton(fake, location, getattr(torch, dtype), without, blocks)
        surrogate = family(pipeline, taps, height, width, num_frames, 20)
        surrogate.drop_what_animates()
        if checkpointing:
            surrogate.checkpoint_layers()
        # What would look at values is decided now: fake tensors have none.
        texts, expert = surrogate.text_shapes(), surrogate.denoiser_at(surrogate.timesteps[0])
        surrogate.denoiser_at = lambda timestep: expert  # type: ignore[method-assign]
        with fake:
            inputs = _inputs(surrogate, texts, batch)
            held = {name: list(_tensors(part)) for name, part in pipeline.components.items() if isinstance(part, nn.Module)}
            known = [tensor for tensors in held.values() for tensor in tensors]
            with LivePeak([*known, *surrogate.buffers()]) as live:
                features = surrogate(*inputs)
                gc.collect()
                kept = live.now
                sum(value.square().mean() for value in features.values()).backward()
    weights = {name: sum(tensor.untyped_storage().nbytes() for tensor in tensors) for name, tensors in held.items()}
    return Need({name: size for name, size in weights.items() if size}, kept, live.peak, live.flops)


def text_encoder_bytes(source: str, dtype: Literal["float32", "bfloat16"] = "float32") -> int:
    """Weights of the text encoders that a training needs once, for its prompts, and then no more; arguments as above.

    Raises:
        UsageError: The source is no supported pipeline.
    """
    from torch._subclasses import fake_tensor

    from anti_i2v.surrogates.memory.no_values import NoValues

    location, index = read_index(source)
    family, total = family_of(source, index), 0
    for name in family.text_encoders():
        entry = index.get(name)
        make = _network(location, name, str(entry[0]), str(entry[1]), {}) if isinstance(entry, (list, tuple)) and entry[0] else None
        if make is not None:
            with _quiet(), NoValues(), fake_tensor.FakeTensorMode(), _default_dtype(getattr(torch, dtype)):
                total += sum(tensor.numel() * tensor.element_size() for tensor in make().parameters())
    return total


def _tensors(part: nn.Module) -> Iterator[Tensor]:
    yield from part.parameters()
    yield from part.buffers()


def _inputs(
    surrogate: Surrogate, texts: Mapping[str, tuple[tuple[int, ...], torch.dtype]], batch: int
) -> tuple[Tensor, dict[str, Tensor], Draw]:
    """Photos that ask for a gradient, text and a draw, of the noisiest step."""
    photos = torch.rand(batch, 3, surrogate.height, surrogate.width, requires_grad=True)
    text = {name: torch.zeros(batch, *shape, dtype=kind) for name, (shape, kind) in texts.items()}
    seen = surrogate.image_noise_shape(batch)
    image_noise = None if seen is None else torch.randn(seen)
    return photos, text, Draw(0, surrogate.timesteps[0], surrogate.sigmas[0], torch.randn(surrogate.latent_shape(batch)), image_noise)


def skeleton(
    within: AbstractContextManager[object],
    location: str,
    dtype: torch.dtype = torch.float32,
    without: Sequence[str] = (),
    blocks: Mapping[str, Mapping[str, int]] | None = None,
) -> DiffusionPipeline:
    """The pipeline at a location as it is configured, without reading weights; everything that is no network is as it is.

    Args:
        within: What networks are built in: a mode of fake tensors, or a device, where their weights are random.
        location: As in `load_pipeline`, also the other arguments.
        dtype: Of the weights.
        without: Parts to leave out.
        blocks: Denoiser's name in the pipeline → entry of its configuration → how many blocks to build.
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
            make = _network(location, name, str(entry[0]), str(entry[1]), (blocks or {}).get(name, {}))
            if make is None:
                parts[name] = _other(location, name, str(entry[0]), str(entry[1]))
            else:
                kind = torch.float32 if name in ("vae", "image_encoder") else dtype
                with within, _default_dtype(kind):
                    parts[name] = _as_loaded(make(), kind)
    return pipeline_class(index)(**parts)


def _network(location: str, name: str, library: str, kind: str, counts: Mapping[str, int]) -> Callable[[], nn.Module] | None:
    """What builds a network from its configuration; None for a part that is none."""
    import diffusers
    import transformers

    path, revision = where(location)
    if library != "transformers":  # diffusers itself, or one of its pipelines, by the pipeline's name
        network = getattr(diffusers if library == "diffusers" else getattr(diffusers.pipelines, library), kind)
        if not issubclass(network, diffusers.ModelMixin):
            return None
        config = network.load_config(path, subfolder=name, **revision)
        trimmed = {**config, **no_more_than(config, counts)}
        return lambda: network.from_config(trimmed)
    model: Any = getattr(transformers, kind)
    if not hasattr(model, "config_class"):
        return None
    settings = model.config_class.from_pretrained(path, subfolder=name, use_safetensors=True, **revision)
    settings.dtype = None  # that of the file; a model is loaded in the type that is asked for
    return lambda: model(settings)


def _other(location: str, name: str, library: str, kind: str) -> object:
    """A scheduler, processor or tokenizer, as it is."""
    import diffusers
    import transformers

    path, revision = where(location)
    return getattr(diffusers if library == "diffusers" else transformers, kind).from_pretrained(
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
def _quiet() -> Iterator[None]:
    """Without torch's warning that a fake tensor has no data, which is the point of it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Accessing the data pointer of FakeTensor")
        yield
