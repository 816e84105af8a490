"""What the tiny pipelines share: how they are written, and the text and photo encoders that several of them have."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

import torch

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline
    from transformers import CLIPImageProcessor, CLIPTextModel, CLIPVisionModelWithProjection, T5EncoderModel

P = ParamSpec("P")
NO_CHANGES: Mapping[str, Any] = {}
TEXT = 16
"""Width of a text encoder's states."""


def tiny_pipeline(build: Callable[P, DiffusionPipeline]) -> Callable[Concatenate[str | Path, P], Path]:
    """A function that writes the pipeline `build` makes into the folder given first, and returns the folder.

    Weights are random but always the same, and in half precision. A LLaMA tokenizer is named as the public pipelines name it.
    """

    @functools.wraps(build)
    def write(folder: str | Path, *args: P.args, **kwargs: P.kwargs) -> Path:
        from transformers import PreTrainedTokenizerFast

        with torch.random.fork_rng(devices=[]):  # the caller's global random state stays as it was
            torch.manual_seed(0)
            pipeline = build(*args, **kwargs)
        for part in pipeline.components.values():
            if isinstance(part, torch.nn.Module):
                part.half()
        pipeline.save_pretrained(folder)
        if type(getattr(pipeline, "tokenizer", None)) is PreTrainedTokenizerFast:
            edit_json(Path(folder) / "model_index.json", tokenizer=["transformers", "LlamaTokenizerFast"])
        return Path(folder)

    return write


def edit_json(file: Path, **changes: Any) -> None:
    """Change entries of a JSON file; None removes one."""
    content = json.loads(file.read_text(encoding="utf-8")) | changes
    file.write_text(json.dumps({key: value for key, value in content.items() if value is not None}), encoding="utf-8")


def tiny_t5(vocabulary: int = 48, width: int = TEXT) -> T5EncoderModel:
    """A T5 encoder of two layers."""
    from transformers import T5Config, T5EncoderModel

    config = T5Config(vocab_size=vocabulary, d_model=width, d_kv=8, d_ff=24, num_layers=2, num_heads=2, decoder_start_token_id=0)
    return T5EncoderModel(config)


def tiny_clip_text(words: int, width: int = 8, layers: int = 2, length: int = 77) -> CLIPTextModel:
    """A CLIP text encoder; the last two words of its vocabulary are its beginning and its end."""
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=words,
        hidden_size=width,
        intermediate_size=2 * width,
        num_attention_heads=2,
        num_hidden_layers=layers,
        max_position_embeddings=length,
        projection_dim=width,
        bos_token_id=words - 2,
        eos_token_id=words - 1,
        pad_token_id=words - 1,
    )
    return CLIPTextModel(config)


def tiny_clip_vision(image_size: int, patch_size: int) -> CLIPVisionModelWithProjection:
    """A CLIP vision tower of one layer, whose embedding is `TEXT` wide."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    return CLIPVisionModelWithProjection(CLIPVisionConfig(**size, image_size=image_size, patch_size=patch_size, projection_dim=TEXT))


def tiny_clip_processor(size: int) -> CLIPImageProcessor:
    """CLIP's own: the shorter edge to `size`, then the centre."""
    from transformers import CLIPImageProcessor

    return CLIPImageProcessor(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
