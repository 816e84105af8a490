"""What is peculiar to LTX-Video: schedules, the photo's tokens, noise on the photo and in the decoder, refusals."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.surrogates import Surrogate
from tests.surrogates.family import FAMILIES, PROMPT, STEPS, Family, TinyModels, draw_at
from tests.surrogates.oracle import assert_close, record_calls
from tests.tiny.ltx import FRAMES, LATENTS, SHIFT, TERMINAL, tiny_ltx, tiny_ltx_condition, tiny_scheduler


@pytest.fixture(scope="module")
def family() -> Family:
    return FAMILIES["ltx"]


TOKENS = math.prod(LATENTS[1:])
PHOTO_TOKENS = LATENTS[2] * LATENTS[3]


@pytest.fixture(scope="module")
def condition(tiny: TinyModels) -> Surrogate:
    return tiny.surrogate("ltx-condition")


def test_the_shift_grows_with_the_number_of_tokens_and_the_schedule_ends_at_the_terminal(family: Family, folder: Path) -> None:
    few, many, low, high = SHIFT
    for num_frames, tokens in ((FRAMES, TOKENS), (17, 5 * PHOTO_TOKENS)):
        grown = math.exp(low + (tokens - few) / (many - few) * (high - low))
        shifted = [grown / (grown + 1 / s - 1) for s in (1, 0.75, 0.5, 0.25)]
        expected = [1 - (1 - s) / (1 - shifted[-1]) * (1 - TERMINAL) for s in shifted]
        surrogate = family.surrogate(folder, num_frames=num_frames)
        assert surrogate.sigmas == pytest.approx(expected, abs=1e-6)
        assert surrogate.timesteps.tolist() == pytest.approx([1000 * s for s in expected], abs=1e-3)


def test_the_condition_pipelines_schedule_is_first_linear_then_quadratic(condition: Surrogate) -> None:
    # 2 of 4 steps go to 1 − 0.025; the parabola through 0.025 and 1 has the same slope where they meet
    assert condition.sigmas == pytest.approx([1, 0.9875, 0.975, 0.725], abs=1e-6)


def test_a_single_step_cannot_run_from_one_to_the_terminal(family: Family, folder: Path, surrogate: Surrogate, tiny: TinyModels) -> None:
    with pytest.raises(UsageError, match=r"steps is 1; this LTX's schedule runs from 1 to 0.1"):
        family.surrogate(folder, steps=1)
    with pytest.raises(UsageError, match="steps is 1"):
        surrogate.animate(family.photos(), surrogate.encode_text([PROMPT]), seed=0, steps=1)
    assert family.surrogate(tiny.folder("ltx-condition"), steps=1).sigmas == [1.0]


def test_a_still_clip_is_noised_as_the_scheduler_does_but_for_the_photos_frame(condition: Surrogate, photos: Tensor) -> None:
    scheduler, latents = condition._schedule(STEPS), condition.condition(photos)["latents"]
    for step in range(1, STEPS):
        draw = draw_at(condition, step)
        theirs = scheduler.scale_noise(latents.expand_as(draw.noise), condition.timesteps[step].expand(2), draw.noise)
        noisy = condition.noisy_latents({"latents": latents}, draw)
        assert_close(noisy[:, :, 1:], theirs[:, :, 1:])
        assert torch.equal(noisy[:, :, 0], draw.noise[:, :, 0])  # it becomes the photo's own noise


def test_the_noise_on_the_photo_is_new_at_every_step(condition: Surrogate, photos: Tensor) -> None:
    latents = condition.condition(photos[:1])["latents"].flatten(2).transpose(1, 2)
    calls = record_calls(condition.denoiser, lambda: condition.animate(photos[:1], condition.encode_text([PROMPT]), 3))
    noises = [
        (arguments["hidden_states"][:, :PHOTO_TOKENS] - latents) / (0.15 * (float(time) / 1000) ** 2)
        for arguments, time in zip(calls, condition.timesteps, strict=True)
    ]
    for one, other in itertools.pairwise(noises):
        assert 0.8 < one.std() < 1.2
        assert (one - other).std() > 1


def test_steps_that_add_noise_do_so_as_the_scheduler_does(
    family: Family, tmp_path: Path, photos: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_ltx(tmp_path)
    tiny_scheduler(stochastic_sampling=True).save_pretrained(folder / "scheduler")
    surrogate = family.surrogate(folder)
    text = surrogate.encode_text([PROMPT])
    again = [surrogate.animate(photos, text, seed=11) for _ in range(2)]
    assert torch.equal(*again)  # the pipeline's own clips differ from call to call
    seed_scheduler = surrogate.seed_scheduler
    monkeypatch.setattr(surrogate, "seed_scheduler", lambda scheduler, _: seed_scheduler(scheduler, [torch.Generator().manual_seed(0)]))
    mine = surrogate.animate(photos[:1], text, seed=11)
    assert (mine - again[0][:1]).abs().max() > 1e-2
    assert_close(mine, family.call(surrogate.pipeline, photos[0], 11))


def test_a_decoder_that_draws_noise_leaves_the_global_random_state_alone_and_repeats(tiny: TinyModels) -> None:
    surrogate = tiny.surrogate("ltx-0.9.1")
    noise, before = draw_at(surrogate, 0).noise, torch.get_rng_state()
    with torch.no_grad():
        assert torch.equal(surrogate.decode(noise), surrogate.decode(noise))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_condition_pipeline_whose_own_call_fails_is_refused(family: Family, tmp_path: Path) -> None:
    folder = tiny_ltx_condition(tmp_path)
    tiny_scheduler().save_pretrained(folder / "scheduler")
    with pytest.raises(UsageError, match="use_dynamic_shifting is true, with which LTXConditionPipeline itself fails; set it to false"):
        family.surrogate(folder)
