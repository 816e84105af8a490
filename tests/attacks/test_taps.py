"""Which layers methods find in real modules."""

from __future__ import annotations

import pytest

from anti_i2v.attacks.taps import collapsed_blocks, collapsed_layers, denoiser_blocks, encoder_layers, temporal_attention
from anti_i2v.errors import UsageError
from anti_i2v.surrogates import Surrogate
from tests.tiny import FRAMES, HEIGHT, WIDTH, tiny_portrait_dit
from tests.tiny.unet import FRAMES as UNET_FRAMES
from tests.tiny.unet import tiny_portrait_unet


@pytest.fixture(scope="module")
def transformer(tmp_path_factory: pytest.TempPathFactory) -> Surrogate:
    return Surrogate.from_pretrained(str(tiny_portrait_dit(tmp_path_factory.mktemp("video_model"))), ["photo"], HEIGHT, WIDTH, FRAMES, 4)


@pytest.fixture(scope="module")
def unet(tmp_path_factory: pytest.TempPathFactory) -> Surrogate:
    return Surrogate.from_pretrained(str(tiny_portrait_unet(tmp_path_factory.mktemp("unet"))), ["photo"], 32, 32, UNET_FRAMES, 4)


def test_of_cogvideox_the_papers_blocks_and_of_others_the_same_share_of_the_depth() -> None:
    assert collapsed_blocks([f"b.{i}" for i in range(42)]) == (["b.39", "b.40", "b.41"], "b.3")
    assert collapsed_blocks([f"b.{i}" for i in range(28)]) == (["b.25", "b.26", "b.27"], "b.2")
    assert collapsed_blocks([f"b.{i}" for i in range(12)]) == (["b.9", "b.10", "b.11"], "b.1")
    assert collapsed_blocks(["b.0", "b.1"]) == (["b.1"], "b.0")
    with pytest.raises(UsageError, match="has 1 block, too few"):
        collapsed_blocks(["b.0"])


def test_layers_of_a_transformer(transformer: Surrogate) -> None:
    blocks = [f"blocks.{i}" for i in range(4)]
    assert denoiser_blocks(transformer) == blocks
    assert collapsed_layers(transformer) == (blocks[1:], "blocks.0")
    assert temporal_attention(transformer) == ([f"{block}.attn1" for block in blocks], False)
    encoder = encoder_layers(transformer)
    assert encoder[0] == "vae.encoder.down_blocks.0"
    assert encoder[-1] == "vae.encoder.mid_block"
    assert transformer.with_taps(encoder).taps == tuple(encoder)


def test_layers_of_a_unet(unet: Surrogate) -> None:
    assert denoiser_blocks(unet) == ["down_blocks.0", "down_blocks.1", "mid_block", "up_blocks.0", "up_blocks.1"]
    assert collapsed_layers(unet) == (["up_blocks.1.attentions.0", "up_blocks.1.attentions.1"], "down_blocks.0.attentions.0")
    layers, alone = temporal_attention(unet)
    assert alone
    assert len(layers) == 4
    assert all("temporal" in name for name in layers)
    assert encoder_layers(unet) == ["vae.encoder.down_blocks.0", "vae.encoder.down_blocks.1", "vae.encoder.mid_block"]
