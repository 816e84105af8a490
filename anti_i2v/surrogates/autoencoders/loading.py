"""Loading an autoencoder: safetensors only, always in float32, every failure one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from anti_i2v.errors import UsageError
from anti_i2v.surrogates.autoencoders.source import PICKLES, AutoencoderSource
from anti_i2v.surrogates.autoencoders.tiny_video import TinyVideoAutoencoder, load_tiny_video, read_shapes

if TYPE_CHECKING:
    from diffusers import ModelMixin

DECODERS = ("decoder.", "post_quant_conv.")
"""How the names of weights begin that only decoding needs."""


def empty_autoencoder(source: AutoencoderSource) -> ModelMixin:
    """The autoencoder at a source as it is configured, its weights made up and not read."""
    import diffusers

    if not source.config:
        return TinyVideoAutoencoder(read_shapes(source.path))
    return getattr(diffusers, source.class_name).from_config(dict(source.config))


def load_autoencoder(source: AutoencoderSource) -> ModelMixin:
    """The autoencoder at a source, whatever precision its files are stored in; without a decoder where the files have none.

    Raises:
        UsageError: A file is missing, unreadable or not safetensors, or weights of the encoder are missing.
    """
    import diffusers
    from diffusers.utils import logging
    from safetensors import SafetensorError

    if not source.config:
        return load_tiny_video(source.path)
    network = getattr(diffusers, source.class_name)
    level = logging.get_verbosity()
    logging.set_verbosity_error()  # what is missing is said here
    try:  # safetensors only: nothing is ever loaded by pickle
        vae, report = network.from_pretrained(
            source.path,
            subfolder=source.subfolder or None,
            revision=source.revision,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(". ")
        raise UsageError(
            f"cannot load the autoencoder {source.path}: {reason}; its weights must be safetensors, no {', '.join(PICKLES)}: "
            "fetch or write it again"
        ) from error
    finally:
        logging.set_verbosity(level)
    missing = list(report["missing_keys"])
    if any(name.startswith(DECODERS) for name in missing):
        vae.decoder = None
        missing = [name for name in missing if not name.startswith(DECODERS)]
    if missing:
        raise UsageError(f"the autoencoder {source.path} lacks weights of its encoder, such as {missing[0]}; fetch or write it again")
    return vae
