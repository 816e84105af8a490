"""What is peculiar to LTX-Video: schedules, the photo's tokens, noise on the photo and in the decoder, refusals."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.surrogates import Draw, Surrogate
from tests.surrogates.family import PROMPT, STEPS, Family
from tests.surrogates.oracle import record
from tests.tiny.ltx import (
    FRAMES,
    HEIGHT,
    LATENTS,
    SHIFT,
    TAPS,
    TERMINAL,
    WIDTH,
    tiny_ltx,
    tiny_ltx_condition,
    tiny_ltx_timed,
    tiny_scheduler,
)

TOKENS = math.prod(LATENTS[1:])
PHOTO_TOKENS = LATENTS[2] * LATENTS[3]


def family(write: Callable[[Path], Path]) -> Family:
    return Family("ltx", write, TAPS, FRAMES, HEIGHT, WIDTH, options={"guidance_scale": 1.0}, samples=True)


def build(folder: Path, num_frames: int = FRAMES, steps: int = STEPS, height: int = HEIGHT) -> Surrogate:
    return Surrogate.from_pretrained(str(folder), list(TAPS), height, WIDTH, num_frames, steps)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    written = {"plain": tiny_ltx, "timed": tiny_ltx_timed, "condition": tiny_ltx_condition}
    return {name: write(tmp_path_factory.mktemp(name)) for name, write in written.items()}


@pytest.fixture(scope="module")
def plain(folders: dict[str, Path]) -> Surrogate:
    return build(folders["plain"])


@pytest.fixture(scope="module")
def condition(folders: dict[str, Path]) -> Surrogate:
    return build(folders["condition"])


@pytest.fixture(scope="module")
def photos() -> Tensor:
    return family(tiny_ltx).photos()


def rewritten(file: Path, **changes: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_the_text_to_video_pipeline_that_checkpoints_name_is_taken_for_image_to_video(
    plain: Surrogate, photos: Tensor, tmp_path: Path
) -> None:
    folder = tiny_ltx(tmp_path)
    rewritten(folder / "model_index.json", _class_name="LTXPipeline")
    named = build(folder)
    assert type(named.pipeline).__name__ == "LTXPipeline"
    text = plain.encode_text([PROMPT])
    assert torch.equal(named.animate(photos, named.encode_text([PROMPT]), seed=3), plain.animate(photos, text, seed=3))


def test_the_shift_grows_with_the_number_of_tokens_and_the_schedule_ends_at_the_terminal(folders: dict[str, Path]) -> None:
    few, many, low, high = SHIFT
    for num_frames, tokens in ((FRAMES, TOKENS), (17, 5 * PHOTO_TOKENS)):
        grown = math.exp(low + (tokens - few) / (many - few) * (high - low))
        shifted = [grown / (grown + 1 / s - 1) for s in (1, 0.75, 0.5, 0.25)]
        expected = [1 - (1 - s) / (1 - shifted[-1]) * (1 - TERMINAL) for s in shifted]
        surrogate = build(folders["plain"], num_frames)
        assert surrogate.sigmas == pytest.approx(expected, abs=1e-6)
        assert surrogate.timesteps.tolist() == pytest.approx([1000 * s for s in expected], abs=1e-3)


def test_the_condition_pipelines_schedule_is_first_linear_then_quadratic(condition: Surrogate) -> None:
    # 2 of 4 steps go to 1 − 0.025; the parabola through 0.025 and 1 has the same slope where they meet
    assert condition.sigmas == pytest.approx([1, 0.9875, 0.975, 0.725], abs=1e-6)


def test_a_single_step_cannot_run_from_one_to_the_terminal(plain: Surrogate, folders: dict[str, Path], photos: Tensor) -> None:
    with pytest.raises(UsageError, match=r"steps is 1; this LTX's schedule runs from 1 to 0.1"):
        build(folders["plain"], steps=1)
    with pytest.raises(UsageError, match="steps is 1"):
        plain.animate(photos, plain.encode_text([PROMPT]), seed=0, steps=1)
    assert build(folders["condition"], steps=1).sigmas == [1.0]


@pytest.mark.parametrize("name", ["plain", "condition"])
def test_a_still_clip_is_noised_as_the_scheduler_does(folders: dict[str, Path], photos: Tensor, name: str) -> None:
    surrogate = build(folders[name])
    scheduler = surrogate._schedule(STEPS)
    drawn = surrogate.draw(2, torch.Generator().manual_seed(7))
    known = surrogate.condition(photos.clone().requires_grad_())
    for step in range(1, STEPS):
        draw = Draw(step, surrogate.timesteps[step], surrogate.sigmas[step], drawn.noise)
        still = known["latents"].detach().expand_as(drawn.noise)
        theirs = scheduler.scale_noise(still, surrogate.timesteps[step].expand(2), drawn.noise)
        noisy = surrogate.noisy(known, draw)
        torch.testing.assert_close(noisy[:, :, 1:], theirs[:, :, 1:], atol=1e-5, rtol=0)
        assert not noisy.requires_grad
    first = Draw(0, surrogate.timesteps[0], surrogate.sigmas[0], drawn.noise)
    assert torch.equal(surrogate.noisy(known, first), drawn.noise)


@pytest.mark.parametrize(("name", "scale"), [("plain", 0.0), ("condition", 0.15)])
def test_the_photos_tokens_have_timestep_zero_and_the_noise_of_their_pipeline(
    folders: dict[str, Path], photos: Tensor, name: str, scale: float
) -> None:
    surrogate = build(folders[name])
    drawn = surrogate.draw(2, torch.Generator().manual_seed(7))
    draw = Draw(3, surrogate.timesteps[3], surrogate.sigmas[3], drawn.noise)
    text = surrogate.encode_text([PROMPT])
    given = record(surrogate.denoiser, lambda: surrogate(photos, text, draw))
    assert given["hidden_states"].shape == (2, TOKENS, LATENTS[0])
    time = float(draw.timestep)
    assert given["timestep"].flatten().tolist() == pytest.approx(([0.0] * PHOTO_TOKENS + [time] * (TOKENS - PHOTO_TOKENS)) * 2)
    with torch.no_grad():
        raw = surrogate.pipeline.vae.encode((2 * photos - 1).unsqueeze(2)).latent_dist.mode()
    mean, std = torch.linspace(-0.5, 0.5, LATENTS[0]), torch.linspace(0.5, 2.0, LATENTS[0])
    tokens = (raw.flatten(2).transpose(1, 2) - mean) / std
    noise = drawn.noise[:, :, 0].flatten(2).transpose(1, 2)
    expected = tokens + scale * (time / 1000) ** 2 * noise
    torch.testing.assert_close(given["hidden_states"][:, :PHOTO_TOKENS], expected, atol=2e-3, rtol=0)  # statistics lie in half precision


def test_the_noise_on_the_photo_is_new_at_every_step(condition: Surrogate, photos: Tensor) -> None:
    text = condition.encode_text([PROMPT])
    latents = condition.condition(photos[:1])["latents"].flatten(2).transpose(1, 2)
    seen = []
    for step in range(STEPS):
        given = record(condition.denoiser, lambda: condition.animate(photos[:1], text, 3), skip=step)
        level = 0.15 * (float(condition.timesteps[step]) / 1000) ** 2
        seen.append((given["hidden_states"][:, :PHOTO_TOKENS] - latents) / level)
    for one, other in itertools.pairwise(seen):
        assert 0.8 < one.std() < 1.2
        assert (one - other).std() > 1


def test_position_0_of_a_batch_equals_the_pipeline_although_noise_is_drawn_in_the_loop(condition: Surrogate, photos: Tensor) -> None:
    row = family(tiny_ltx_condition)
    clips = condition.animate(photos, condition.encode_text([PROMPT]), seed=11)
    theirs = row.call(condition.pipeline, photos[0], 11)
    torch.testing.assert_close(clips[:1], theirs, atol=1e-4, rtol=0)


def test_steps_that_add_noise_do_so_as_the_scheduler_does(tmp_path: Path, photos: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_ltx(tmp_path)
    tiny_scheduler(stochastic_sampling=True).save_pretrained(folder / "scheduler")
    surrogate, row = build(folder), family(tiny_ltx)
    text = surrogate.encode_text([PROMPT])
    again = [surrogate.animate(photos, text, seed=11) for _ in range(2)]
    assert torch.equal(*again)  # the pipeline's own clips differ from call to call
    seeded = surrogate.seeded
    monkeypatch.setattr(surrogate, "seeded", lambda scheduler, _: seeded(scheduler, [torch.Generator().manual_seed(0)]))
    mine = surrogate.animate(photos[:1], text, seed=11)
    assert (mine - again[0][:1]).abs().max() > 1e-2
    torch.testing.assert_close(mine, row.call(surrogate.pipeline, photos[0], 11), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["plain", "timed"])
def test_decode_undoes_the_normalisation_and_the_scaling(folders: dict[str, Path], name: str) -> None:
    surrogate = build(folders[name])
    latents = torch.randn(surrogate.latent_shape(2), generator=torch.Generator().manual_seed(0))
    mean, std = (value.view(1, -1, 1, 1, 1) for value in (surrogate.pipeline.vae.latents_mean, surrogate.pipeline.vae.latents_std))
    before = torch.get_rng_state()
    with torch.no_grad():
        mine = surrogate.decode(latents)
        assert torch.equal(torch.get_rng_state(), before)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # the decoder of 0.9.1 draws noise from the global random state
            video = surrogate.pipeline.vae.decode(latents * std / 0.7 + mean, torch.zeros(2) if name == "timed" else None).sample
        torch.testing.assert_close(mine, ((video + 1) / 2).clamp(0, 1).transpose(1, 2), atol=1e-6, rtol=0)
        assert torch.equal(surrogate.decode(latents), mine)


def test_decoded_is_painted_from_what_the_autoencoder_itself_encoded(plain: Surrogate, photos: Tensor) -> None:
    decoded = plain.with_taps(["decoded"])(photos, plain.encode_text([PROMPT]), plain.draw(2, torch.Generator().manual_seed(7)))["decoded"]
    with torch.no_grad():
        video = plain.pipeline.vae.decode(plain.pipeline.vae.encode((2 * photos - 1).unsqueeze(2)).latent_dist.mode()).sample
    torch.testing.assert_close(decoded, ((video[:, :, 0] + 1) / 2).clamp(0, 1), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("name", "length"), [("plain", 128), ("condition", 256)])
def test_padding_of_the_prompt_is_masked(folders: dict[str, Path], name: str, length: int) -> None:
    text = build(folders[name]).encode_text([PROMPT, "she waves"])
    assert text["encoder_hidden_states"].shape[:2] == text["encoder_attention_mask"].shape == (2, length)
    assert text["encoder_attention_mask"].dtype == torch.bool
    assert text["encoder_attention_mask"].sum(1).tolist() == [len("a dog runs") + 2, len("she waves") + 2]  # a word mark and an end


@pytest.mark.parametrize(
    ("height", "num_frames", "message"),
    [
        (48, FRAMES, "height × width is 48 × 64; this LTX needs multiples of 32 × 32"),
        (0, FRAMES, "multiples of 32 × 32"),
        (HEIGHT, 8, "num_frames is 8; this LTX needs 1 \\+ a multiple of 4: 17, …"),
        (HEIGHT, 0, "num_frames is 0"),
    ],
)
def test_sizes_the_pipeline_refuses_or_rounds_are_refused(folders: dict[str, Path], height: int, num_frames: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(folders["plain"], num_frames, height=height)


def test_a_condition_pipeline_whose_own_call_fails_is_refused(tmp_path: Path) -> None:
    folder = tiny_ltx_condition(tmp_path)
    tiny_scheduler().save_pretrained(folder / "scheduler")
    with pytest.raises(UsageError, match="use_dynamic_shifting is true, with which LTXConditionPipeline itself fails; set it to false"):
        build(folder)
