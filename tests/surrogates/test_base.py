"""What every surrogate promises: frozen, deterministic, differentiable in the photo, clear about misuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.surrogates import Draw, Surrogate
from tests.surrogates.family import FAMILIES, STEPS, draw_at
from tests.surrogates.oracle import assert_close
from tests.tiny import tiny_portrait_dit

Text = dict[str, Tensor]


def load(folder: Path, taps: list[str]) -> Surrogate:
    return FAMILIES["wan-2.2-5b"].surrogate(folder, taps=taps)


def gradient(surrogate: Surrogate, photos: Tensor, text: Text, draw: Draw) -> Tensor:
    leaf = photos.clone().requires_grad_()
    loss = sum(value.square().mean() for value in surrogate(leaf, text, draw).values())
    (slope,) = torch.autograd.grad(loss, leaf)
    return slope


def hooks(surrogate: Surrogate) -> int:
    return sum(len(module._forward_hooks) for module in surrogate.denoiser.modules())


def test_features_are_the_outputs_of_named_layers(surrogate: Surrogate, text: Text, photos: Tensor, draw: Draw) -> None:
    outputs: list[Tensor] = []
    handle = surrogate.denoiser.get_submodule("blocks.2").register_forward_hook(lambda m, a, out: outputs.append(out))
    try:
        features = surrogate(photos, text, draw)
    finally:
        handle.remove()
    assert list(features) == ["blocks.1", "blocks.2"]
    assert features["blocks.2"].shape == (2, 3 * 2 * 3, 32)  # 3 latent frames of 2 × 3 tokens, 32 channels
    assert torch.equal(features["blocks.2"], outputs[0])


def test_gradient_is_the_slope_of_the_features(surrogate: Surrogate, text: Text, photos: Tensor) -> None:
    draw = draw_at(surrogate, 0)  # pure noise: one route
    inside = photos * 0.8 + 0.1  # away from the clamp, where the straight-through gradient is the true one
    slope = gradient(surrogate, inside, text, draw)

    def value(shift: float) -> float:
        with torch.no_grad():
            features = surrogate(inside + shift * slope.sign(), text, draw)
        return sum(float(feature.double().square().mean()) for feature in features.values())

    assert (value(0.002) - value(-0.002)) / 0.004 == pytest.approx(float(slope.abs().sum()), rel=0.05)  # curvature, and single precision


def test_early_exit_leaves_deeper_blocks_alone(surrogate: Surrogate, text: Text, photos: Tensor, draw: Draw) -> None:
    called: list[int] = []
    handles = [
        block.register_forward_hook(lambda m, a, out, i=i: called.append(i))
        for i, block in enumerate(surrogate.denoiser.get_submodule("blocks").children())
    ]
    try:
        surrogate(photos, text, draw)
    finally:
        for handle in handles:
            handle.remove()
    assert called in ([0, 1], [0, 1, 2])  # block 2 is the last tap; its own later hooks do not fire


def test_no_hook_stays_behind(surrogate: Surrogate, text: Text, photos: Tensor, draw: Draw) -> None:
    surrogate(photos, text, draw)
    assert hooks(surrogate) == 0
    with pytest.raises((RuntimeError, ValueError)):
        surrogate(photos, {"prompt_embeds": torch.zeros(1, 3, 5)}, draw)  # the denoiser refuses this width
    assert hooks(surrogate) == 0


def test_autocast_outside_does_not_reach_inside(surrogate: Surrogate, text: Text, photos: Tensor, draw: Draw) -> None:
    plain = surrogate(photos, text, draw)
    clip = surrogate.animate(photos, text, seed=0, steps=2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = surrogate(photos, text, draw)
        assert torch.equal(surrogate.animate(photos, text, seed=0, steps=2), clip)
    assert all(torch.equal(cast[tap], plain[tap]) and cast[tap].dtype == torch.float32 for tap in plain)


def test_weights_stored_in_half_precision_are_used_in_single(surrogate: Surrogate) -> None:
    assert {p.dtype for p in surrogate.parameters()} == {torch.float32}


def test_draw_is_decided_by_its_generator(surrogate: Surrogate) -> None:
    one, two, other = (surrogate.draw(2, torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))
    assert one.step == two.step
    assert torch.equal(one.noise, two.noise)
    assert not torch.equal(one.noise, other.noise)
    assert one.noise.shape == surrogate.latent_shape(2) == (2, 4, 3, 4, 6)


def test_draws_come_from_the_pipelines_own_schedule(surrogate: Surrogate) -> None:
    # Wan's schedule: linspace(1, 1/1000, steps + 1) without its end, shifted by flow_shift = 2: 2s / (1 + s)
    levels = torch.linspace(1, 1 / 1000, STEPS + 1)[:-1]
    expected = (2 * levels / (1 + levels)).tolist()
    generator = torch.Generator().manual_seed(0)
    draws = {d.step: d for d in (surrogate.draw(1, generator) for _ in range(80))}
    assert sorted(draws) == list(range(STEPS))
    for step, d in draws.items():
        assert d.sigma == pytest.approx(expected[step], abs=1e-5)
        assert float(d.timestep) == pytest.approx(1000 * expected[step], abs=1.01)  # the scheduler truncates to integers


def test_min_sigma_keeps_the_noisy_steps(surrogate: Surrogate) -> None:
    generator = torch.Generator().manual_seed(0)
    bound = surrogate.sigmas[2]
    assert {surrogate.draw(1, generator, min_sigma=bound).step for _ in range(60)} == {0, 1, 2}
    assert surrogate.draw(1, generator, min_sigma=1.0).step == 0
    with pytest.raises(UsageError, match=r"no noise level lies between min_sigma 1\.5 and max_sigma 1\.0; the schedule's are"):
        surrogate.draw(1, generator, min_sigma=1.5)


def test_animate_leaves_the_pipelines_scheduler_alone(surrogate: Surrogate, text: Text, photos: Tensor) -> None:
    surrogate.pipeline.scheduler.set_timesteps(3)
    surrogate.animate(photos[:1], text, seed=4, steps=2)
    assert len(surrogate.pipeline.scheduler.timesteps) == 3
    assert surrogate.pipeline.scheduler.step_index is None


def test_text_is_the_pipelines_own_encoding(surrogate: Surrogate) -> None:
    prompts = ["a dog runs", "she waves", "a dog runs"]
    embeds = surrogate.encode_text(prompts)["prompt_embeds"]
    expected, _ = surrogate.pipeline.encode_prompt(prompts, do_classifier_free_guidance=False, max_sequence_length=32)
    assert_close(embeds, expected)


def test_text_is_encoded_once_and_outlives_its_encoder(folder: Path) -> None:
    surrogate = load(folder, ["blocks.0"])
    sizes: list[int] = []
    surrogate.pipeline.text_encoder.register_forward_pre_hook(lambda m, args: sizes.append(len(args[0])))
    first = surrogate.encode_text(["a", "b", "a"])["prompt_embeds"]
    again = surrogate.encode_text(["b", "a"])["prompt_embeds"]
    assert sizes == [2]
    assert torch.equal(again, first[[1, 0]])
    surrogate.drop_text_encoder()
    assert surrogate.pipeline.text_encoder is None
    assert torch.equal(surrogate.encode_text(["a"])["prompt_embeds"], first[:1])
    with pytest.raises(UsageError, match="dropped before the prompt 'c' was encoded"):
        surrogate.encode_text(["a", "c"])


def test_text_that_a_validation_loop_encoded_serves_training(folder: Path, photos: Tensor, draw: Draw) -> None:
    surrogate, fresh = load(folder, ["blocks.0"]), load(folder, ["blocks.0"])
    with torch.inference_mode():  # as Lightning's validation; its tensors may not be saved for a backward pass
        surrogate.encode_text(["a"])
    slope = gradient(surrogate, photos, surrogate.encode_text(["a"]), draw)
    assert slope.abs().max() > 0
    assert torch.equal(slope, gradient(fresh, photos, fresh.encode_text(["a"]), draw))


def test_photos_of_another_size_are_refused(surrogate: Surrogate, text: Text, draw: Draw) -> None:
    with pytest.raises(UsageError, match=r"takes photos \(B, 3, 32, 48\), not \(1, 3, 48, 32\); resize"):
        surrogate(torch.zeros(1, 3, 48, 32), text, draw)


def test_prompts_for_another_number_of_photos_are_refused(surrogate: Surrogate, photos: Tensor, draw: Draw) -> None:
    with pytest.raises(UsageError, match="2 photos but 3 prompts"):
        surrogate(photos, surrogate.encode_text(["a", "b", "c"]), draw)


def test_a_draw_for_another_batch_is_refused(surrogate: Surrogate, text: Text, photos: Tensor) -> None:
    with pytest.raises(UsageError, match="2 photos but a draw for 1"):
        surrogate(photos, text, surrogate.draw(1, torch.Generator()))


@pytest.mark.parametrize("tap", ["blocks.4", "transformer_blocks.0", "blocks", ""])
def test_unknown_taps_are_refused_with_the_list(folder: Path, tap: str) -> None:
    message = r"it has .*blocks\.0 … blocks\.3.*proj_out and their submodules"
    with pytest.raises(UsageError, match=rf"no tap '{tap}' in WanTransformer3DModel; {message}"):
        load(folder, ["blocks.1", tap])


def test_no_taps_are_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="no taps given"):
        load(folder, [])


def test_an_output_in_token_space_is_a_tap_and_repetitions_are_dropped(folder: Path, text: Text, photos: Tensor, draw: Draw) -> None:
    features = load(folder, ["proj_out", "blocks.0", "proj_out"])(photos, text, draw)
    assert list(features) == ["blocks.0", "proj_out"]
    assert features["proj_out"].shape == (2, 18, 4 * 1 * 2 * 2)


def test_a_layer_the_pipeline_never_computes_is_refused(folder: Path, text: Text, photos: Tensor, draw: Draw) -> None:
    surrogate = load(folder, ["blocks.0"])
    surrogate.denoiser.unused = torch.nn.Linear(1, 1)
    surrogate.taps = ("blocks.0", "unused")
    with pytest.raises(UsageError, match="never computes unused"):
        surrogate(photos, text, draw)


def test_a_folder_that_is_no_pipeline_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf"no model_index.json in {tmp_path}.*save_pretrained"):
        load(tmp_path, ["blocks.0"])


def test_a_name_that_is_no_folder_is_refused() -> None:
    with pytest.raises(UsageError, match="no folder 'nowhere-at-all'"):
        Surrogate.from_pretrained("nowhere-at-all", ["blocks.0"])


def test_a_hub_id_that_cannot_be_fetched_is_refused() -> None:
    with pytest.raises(UsageError, match="no folder 'nobody/nothing', and the hub did not give it") as caught:
        Surrogate.from_pretrained("nobody/nothing", ["blocks.0"])
    assert "\n" not in str(caught.value)


def test_another_kind_of_pipeline_is_refused_with_the_supported_ones(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline"}))
    with pytest.raises(
        UsageError, match=r"is a FluxPipeline; supported pipelines: CogVideoX.*, WanImageToVideoPipeline; another one is a file in anti_i2v"
    ):
        load(tmp_path, ["blocks.0"])


@pytest.mark.parametrize("damage", ["missing", "truncated", "pickle", "index"])
def test_a_damaged_folder_is_refused_on_one_line(tmp_path: Path, damage: str) -> None:
    folder = tiny_portrait_dit(tmp_path / "video_model")
    weights = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    if damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif damage == "index":
        (folder / "model_index.json").write_text("{")
    else:
        weights.unlink()
    if damage == "pickle":
        torch.save({}, weights.with_suffix(".bin"))
    with pytest.raises(UsageError, match=r"cannot (load|read)") as caught:
        load(folder, ["blocks.0"])
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_an_empty_schedule_is_refused(folder: Path, surrogate: Surrogate, text: Text, photos: Tensor) -> None:
    with pytest.raises(UsageError, match="steps is 0"):
        FAMILIES["wan-2.2-5b"].surrogate(folder, steps=0)
    with pytest.raises(UsageError, match="steps is 0"):
        surrogate.animate(photos, text, seed=0, steps=0)
