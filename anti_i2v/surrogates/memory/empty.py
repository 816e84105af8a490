"""Surrogates as they are configured, without reading weights: networks are built in a mode of fake tensors, or on a device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import nn

from anti_i2v.surrogates.autoencoder import AutoencoderSurrogate
from anti_i2v.surrogates.autoencoders.loading import empty_autoencoder
from anti_i2v.surrogates.autoencoders.source import find_autoencoder
from anti_i2v.surrogates.base import LoadOptions, Surrogate
from anti_i2v.surrogates.capture import count_blocks
from anti_i2v.surrogates.loading import SAFETY_CHECKER, cap_counts, llama_tokenizers, pipeline_class, read_index, split_revision
from anti_i2v.surrogates.registry import find_family

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

TextShapes: TypeAlias = Mapping[str, tuple[tuple[int, ...], torch.dtype]]
"""Argument of a denoiser that holds a prompt → shape and type of one prompt's."""


def empty_surrogate(fake: AbstractContextManager[object], source: str, options: LoadOptions) -> tuple[Surrogate, TextShapes]:
    """The surrogate of a source without weights, and what `text_shapes` says of its prompts."""
    autoencoder = find_autoencoder(source)
    if autoencoder is not None:
        with fake, default_dtype(torch.float32):
            vae = _as_loaded(empty_autoencoder(autoencoder), torch.float32)
        return AutoencoderSurrogate(vae, options.taps, options.height, options.width, options.num_frames), {}
    location, index = read_index(source)
    family = find_family(source, index)
    num_blocks = dict.fromkeys(family.denoiser_names, count_blocks(options.taps, family.block_lists))
    without = (*family.unused_parts, *family.text_encoders())
    pipeline = build_empty(fake, location, getattr(torch, options.dtype), without, num_blocks)
    surrogate = family(pipeline, options.taps, options.height, options.width, options.num_frames, 20)
    # What depends on values is decided now: fake tensors have none.
    expert, first = surrogate.denoiser_at(surrogate.timesteps[0]), surrogate.draw_at
    surrogate.denoiser_at = lambda timestep: expert  # type: ignore[method-assign]
    surrogate.draw = lambda batch, generator, *levels: first(0, batch, generator)  # type: ignore[method-assign]  # the noisiest step
    return surrogate, surrogate.text_shapes()


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
            make = network_maker(location, name, str(entry[0]), str(entry[1]), (num_blocks or {}).get(name, {}))
            if make is None:
                parts[name] = _other(location, name, str(entry[0]), str(entry[1]))
            else:
                part_dtype = torch.float32 if name in ("vae", "image_encoder") else dtype
                with within, default_dtype(part_dtype):
                    parts[name] = _as_loaded(make(), part_dtype)
    return pipeline_class(index)(**parts)


def network_maker(location: str, name: str, library: str, class_name: str, counts: Mapping[str, int]) -> Callable[[], nn.Module] | None:
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
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Weights are made in a type rather than cast to it, which fake ones cannot be."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
