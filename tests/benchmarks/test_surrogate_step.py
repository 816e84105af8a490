"""The benchmark of a step from its command line to its files, on tiny pipelines and the CPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.steps import PROMPT, Setting, inputs, random_surrogate, step, trained_surrogate
from benchmarks.surrogate_step import main, median_interval
from tests.tiny import tiny_portrait_dit
from tests.tiny.hunyuan_video import tiny_hunyuan_replace
from tests.tiny.unet import tiny_portrait_unet

TINY = {
    "wan": (tiny_portrait_dit, ("blocks.1", "blocks.2"), 32, 32, 5),
    "hunyuan": (tiny_hunyuan_replace, ("transformer_blocks.1", "single_transformer_blocks.0"), 48, 64, 9),
    "svd": (tiny_portrait_unet, ("mid_block", "decoded"), 16, 24, 3),
}


def run_benchmark(folder: Path, out: Path, name: str, *more: str) -> dict[str, Any]:
    _, taps, height, width, frames = TINY[name]
    sizes = f"--size {height}x{width} --frames {frames} --batch 2 --device cpu --warmup 1 --repeats 6"
    main(["--config", str(folder), "--taps", ",".join(taps), *sizes.split(), *more, "--out", str(out)])
    results: dict[str, Any] = json.loads((out / f"{folder.name}.json").read_text(encoding="utf-8"))
    return results


@pytest.mark.parametrize("name", TINY)
def test_a_step_of_random_weights_needs_what_the_plan_says(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = TINY[name][0](tmp_path / name)
    for file in folder.rglob("*.safetensors"):
        file.unlink()  # random weights are read nowhere
    results = run_benchmark(folder, tmp_path / "out", name, "--random-weights", "--dtype", "bfloat16", "--checkpointing")
    facts, of = results["facts"], results["measures"]
    assert (facts["weights"], facts["dtype"], facts["checkpointing"], facts["batch"]) == ("random", "bfloat16", True, 2)
    assert of["peak_gib"] == pytest.approx(of["planned_peak_gib"], rel=0.05)
    assert of["weights_gib"] == pytest.approx(of["planned_weights_gib"], rel=0.05)
    assert of["peak_by"] == "bytes of tensors alive"
    time = of["seconds"]
    assert len(time["all"]) == 6
    assert 0 < time["low"] == min(time["all"]) <= time["median"] <= time["high"]
    assert of["tflop_per_second"] == pytest.approx(of["tflop"] / time["median"])
    assert of["share_of_matmul"] == pytest.approx(of["tflop_per_second"] / of["matmul_tflop_per_second"])
    text = (tmp_path / "out" / f"{name}.md").read_text(encoding="utf-8")
    assert "CPU (no GPU was used; times say nothing about a card)" in text
    if not torch.cuda.is_available():
        assert "no CUDA GPU here" in capsys.readouterr().out


def test_loaded_weights_are_those_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTI_I2V_CACHE", str(tmp_path / "cache"))
    folder = tiny_portrait_dit(tmp_path / "wan")
    assert run_benchmark(folder, tmp_path / "out", "wan", "--dtype", "float32")["facts"]["weights"] == "loaded"
    setting = Setting(str(folder), ("blocks.1",), 32, 32, 5)
    cpu = torch.device("cpu")
    trained, untrained = trained_surrogate(setting, cpu), random_surrogate(setting, cpu)
    for surrogate in (trained, untrained):  # neither has a block, a decoder or a text encoder too many
        assert len(surrogate.pipeline.transformer.blocks) == 2
        assert surrogate.vae.decoder is None
        assert surrogate.pipeline.text_encoder is None
    name = "blocks.1.attn1.to_q.weight"
    assert not torch.equal(trained.denoiser.get_parameter(name), untrained.denoiser.get_parameter(name))
    photos, text, draw = inputs(trained, 2, random_weights=False)
    assert torch.equal(text["prompt_embeds"], trained.encode_text([PROMPT] * 2)["prompt_embeds"])
    step(trained, photos, text, draw)
    assert photos.grad is not None
    assert photos.grad.abs().sum() > 0


def test_the_interval_of_a_median_is_of_order_statistics() -> None:
    assert median_interval([3.0, 1.0, 2.0]) == (2.0, None, None)
    assert median_interval([6.0, 5.0, 4.0, 3.0, 2.0, 1.0]) == (3.5, 1.0, 6.0)
    # of ten values the second and the ninth: 1 − 2·(1 + 10)/1024 = 97.9 %; the third and the eighth would be 89.1 %
    assert median_interval([float(i) for i in range(10)]) == (4.5, 1.0, 8.0)


def test_what_cannot_be_measured_is_refused_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ["--model", "ltx-video-2b", "--out", str(tmp_path)]
    for arguments, message in (
        (model, "add --random-weights"),
        (["--config", "portrait-dit", "--out", str(tmp_path)], "--config needs --taps, --size and --frames"),
        (["--model", "nothing", *model[2:]], "invalid choice"),
    ):
        with pytest.raises(SystemExit):
            main(arguments)
        assert message in capsys.readouterr().err
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        main([*model, "--random-weights", "--device", "cuda"])
    assert "there is no CUDA GPU here" in capsys.readouterr().err
    monkeypatch.setattr("os.sysconf", lambda name: 1024)  # a machine of one megabyte
    with pytest.raises(SystemExit, match=r"needs [\d.]+ GiB by the plan, cpu has 0\.0; take shallower taps"):
        main([*model, "--random-weights", "--size", "64x64", "--frames", "9", "--taps", "transformer_blocks.0"])
    assert not list(tmp_path.iterdir())
