"""Configurations of public models against published numbers, without a weight."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from anti_i2v.surrogates.capture import check_taps
from anti_i2v.surrogates.loading import read_index
from anti_i2v.surrogates.memory.empty import build_empty
from anti_i2v.surrogates.memory.estimate import text_encoder_bytes
from anti_i2v.surrogates.registry import find_family
from benchmarks.full_size import MODELS, write_configuration

# Name → billions of parameters of the denoiser; list of blocks → how many, and millions of parameters of each.
PUBLISHED: dict[str, tuple[float, dict[str, tuple[int, int]]]] = {
    "cogvideox-5b-i2v": (5.57, {"transformer_blocks": (42, 132)}),
    "cogvideox-1.5-5b-i2v": (5.57, {"transformer_blocks": (42, 132)}),
    "wan-2.1-i2v-14b-480p": (16.39, {"blocks": (40, 404)}),
    "wan-2.2-ti2v-5b": (5.00, {"blocks": (30, 164)}),
    "ltx-video-2b": (1.92, {"transformer_blocks": (28, 67)}),
    "svd-xt": (1.52, {}),
    "hunyuan-video-i2v": (12.82, {"transformer_blocks": (20, 340), "single_transformer_blocks": (40, 142)}),
}

# Name → GiB of the autoencoder's encoder in float32; of the text encoders that prompts alone go through, in bfloat16; of CLIP or LLaVA.
OTHERS = {
    "cogvideox-5b-i2v": (0.34, 8.9, {}),
    "cogvideox-1.5-5b-i2v": (0.34, 8.9, {}),
    "wan-2.1-i2v-14b-480p": (0.20, 10.6, {"image_encoder": 2.35}),
    "wan-2.2-ti2v-5b": (0.56, 10.6, {}),
    "ltx-video-2b": (0.67, 8.9, {}),
    "svd-xt": (0.13, 0.0, {"image_encoder": 2.35}),
    "hunyuan-video-i2v": (0.37, 0.23, {"text_encoder": 15.6}),
}

GIB = 2**30


def count(part: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in part.parameters())


def test_every_model_is_checked() -> None:
    assert PUBLISHED.keys() == OTHERS.keys() == MODELS.keys()


@pytest.mark.parametrize("name", MODELS)
def test_the_configuration_has_the_published_size(name: str, tmp_path: Path) -> None:
    model = MODELS[name]
    folder = write_configuration(model, tmp_path)
    assert not list(folder.rglob("*.safetensors"))
    location, index = read_index(str(folder))
    family = find_family(location, index)
    pipeline = build_empty(torch.device("meta"), location, torch.bfloat16, family.text_encoders())
    denoiser = getattr(pipeline, family.denoiser_name)
    billions, lists = PUBLISHED[name]
    assert count(denoiser) / 1e9 == pytest.approx(billions, abs=0.005)
    for blocks, (number, millions) in lists.items():
        assert len(getattr(denoiser, blocks)) == number
        assert count(getattr(denoiser, blocks)[0]) / 1e6 == pytest.approx(millions, abs=0.5)
    assert family.block_lists.keys() == lists.keys()
    check_taps(denoiser, model.taps)

    encoder, once, photo_parts = OTHERS[name]
    assert 4 * count(pipeline.vae.encoder) / GIB == pytest.approx(encoder, abs=0.005)
    assert text_encoder_bytes(str(folder), "bfloat16") / GIB == pytest.approx(once, abs=0.06)
    for part, size in photo_parts.items():
        size_in_bytes = sum(p.numel() * p.element_size() for p in getattr(pipeline, part).parameters())
        assert size_in_bytes / GIB == pytest.approx(size, abs=0.06)
