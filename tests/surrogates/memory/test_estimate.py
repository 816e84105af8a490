"""An estimate from configuration files against the same step with real weights."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from anti_i2v.__main__ import main
from anti_i2v.surrogates.memory.estimate import estimate_memory, text_encoder_bytes
from anti_i2v.surrogates.memory.peak import LivePeak
from tests.surrogates.family import FAMILIES, PROMPT, Family, TinyModels, draw_at


def size(part: torch.nn.Module) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in (*part.parameters(), *part.buffers()))


@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "checkpointing"])
@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_the_estimate_is_what_the_step_needs(family: Family, checkpointing: bool, tiny: TinyModels, tmp_path: Path) -> None:
    folder = tiny.folder(family.name)
    surrogate = family.surrogate(folder, prompts=[PROMPT], checkpointing=checkpointing, features_only=True)
    photos, text, draw = family.photos().requires_grad_(), surrogate.encode_text([PROMPT] * 2), draw_at(surrogate, 0)
    parts = {name: part for name, part in surrogate.pipeline.components.items() if isinstance(part, torch.nn.Module)}
    with LivePeak([tensor for part in (surrogate, *parts.values()) for tensor in (*part.parameters(), *part.buffers())]) as live:
        features = surrogate(photos, text, draw)
        after_forward = live.now
        sum(value.square().mean() for value in features.values()).backward()  # type: ignore[union-attr]
    without_weights = tmp_path / "pipeline"
    shutil.copytree(folder, without_weights, ignore=shutil.ignore_patterns("*.safetensors"))
    sizes = (family.height, family.width, family.num_frames)
    memory = estimate_memory(str(without_weights), family.taps, *sizes, 2, "float32", checkpointing)
    assert memory.weights.keys() == parts.keys()
    for name, part in parts.items():
        assert memory.weights[name] == pytest.approx(size(part), rel=0.05)
    assert memory.after_forward == pytest.approx(after_forward, rel=0.02)
    assert memory.peak == pytest.approx(live.peak, rel=0.05)


def test_half_precision_halves_the_denoiser_and_nothing_else(tiny: TinyModels) -> None:
    family, folder = FAMILIES["cogvideox-1.5"], tiny.folder("cogvideox-1.5")
    single, half = (
        estimate_memory(str(folder), family.taps, family.height, family.width, family.num_frames, 1, dtype)
        for dtype in ("float32", "bfloat16")
    )
    assert half.weights["transformer"] == pytest.approx(single.weights["transformer"] / 2, rel=0.01)
    assert half.weights["vae"] == single.weights["vae"]
    assert half.after_forward < single.after_forward
    assert half.flops == single.flops


@pytest.mark.parametrize(("name", "encoder"), [("wan-2.2-5b", "text_encoder"), ("hunyuan-video-replace", "text_encoder_2"), ("svd", "")])
def test_text_encoders_are_counted_apart_and_only_where_photos_do_not_need_them(tiny: TinyModels, name: str, encoder: str) -> None:
    expected = sum(p.numel() * 4 for p in getattr(tiny.pipeline(name), encoder).parameters()) if encoder else 0
    assert text_encoder_bytes(str(tiny.folder(name))) == expected


def test_bytes_are_counted_from_allocation_to_release() -> None:
    weight = torch.zeros(1000)
    with LivePeak([weight]) as live:
        a = torch.zeros(250)  # 1000 bytes
        b = a + 1
        del a
        view = weight.view(10, 100)
        assert (live.now, live.peak) == (1000, 2000)
        del b
    assert live.now == 0
    assert view.shape == (10, 100)


def test_the_command_says_what_fits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["plan", "--surrogate", "portrait-dit", "--height", "128", "--width", "128", "--num-frames", "9"]
    assert main([*arguments, "--taps", "blocks.3,blocks.5", "--batch-size", "2"]) == 0
    out = capsys.readouterr().out
    assert "portrait-dit: 2 photos of 128 x 128 a step, clips of 9 frames, taps blocks.3,blocks.5" in out
    assert "text encoder, once, before" in out
    assert out.count("fits") >= 16
    assert main([*arguments, "--taps", "blocks.99"]) == 2
    assert "no tap 'blocks.99'" in capsys.readouterr().err
    assert main([*arguments, "--taps", "blocks.3", "--batch-size", "0"]) == 2
    assert "the batch is 0; plan a step of at least 1 photo" in capsys.readouterr().err
    assert main(["plan", "--surrogate", str(tmp_path), *arguments[3:], "--taps", "blocks.0"]) == 2
    assert "model_index.json" in capsys.readouterr().err
