"""What is peculiar to LTX-2; the rest is in `test_families`, what it shares with LTX-Video in `test_ltx`."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.surrogates import Draw, Surrogate
from anti_i2v.surrogates.memory.estimate import text_encoder_bytes
from tests.surrogates.family import PROMPT, STEPS, Family
from tests.surrogates.oracle import record
from tests.tiny.ltx import SHIFT, TERMINAL
from tests.tiny.ltx2 import (
    FRAMES,
    HEIGHT,
    SOUND,
    TAPS,
    UNGUIDED,
    VIDEO,
    WIDTH,
    noise_of_video_and_sound,
    tiny_ltx2,
    tiny_ltx23,
)

WRITTEN = {"2.0": tiny_ltx2, "2.3": tiny_ltx23}
PHOTO_TOKENS = VIDEO[2] * VIDEO[3]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: write(tmp_path_factory.mktemp(name)) for name, write in WRITTEN.items()}


@pytest.fixture(scope="module")
def surrogates(folders: dict[str, Path]) -> dict[str, Surrogate]:
    return {name: build(folder) for name, folder in folders.items()}


@pytest.fixture(scope="module")
def surrogate(surrogates: dict[str, Surrogate]) -> Surrogate:
    return surrogates["2.0"]


@pytest.fixture(scope="module")
def photos() -> Tensor:
    return row().photos()


def row(**changes: object) -> Family:
    return Family("ltx-2", tiny_ltx2, TAPS, FRAMES, HEIGHT, WIDTH, options={**UNGUIDED, **changes})


def build(folder: Path, height: int = HEIGHT, num_frames: int = FRAMES, steps: int = STEPS) -> Surrogate:
    return Surrogate.from_pretrained(str(folder), list(TAPS), height, WIDTH, num_frames, steps)


def at(surrogate: Surrogate, step: int) -> Draw:
    noise = surrogate.draw(2, torch.Generator().manual_seed(7)).noise
    return Draw(step, surrogate.timesteps[step], surrogate.sigmas[step], noise)


def test_the_text_to_video_pipeline_that_checkpoints_name_is_taken_for_image_to_video(
    surrogate: Surrogate, photos: Tensor, tmp_path: Path
) -> None:
    folder = tiny_ltx2(tmp_path)
    file = folder / "model_index.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"_class_name": "LTX2Pipeline"}))
    named = build(folder)
    assert type(named.pipeline).__name__ == "LTX2Pipeline"
    text = surrogate.encode_text([PROMPT])
    assert torch.equal(named.animate(photos, named.encode_text([PROMPT]), seed=3), surrogate.animate(photos, text, seed=3))


def test_noise_of_video_and_sound_at_once_is_that_of_one_after_the_other(surrogate: Surrogate) -> None:
    assert surrogate.latent_shape(3) == (3, 8 * 3 * 2 * 4 + 2 * 9 * 2)
    drawn = torch.randn(surrogate.latent_shape(1), generator=torch.Generator().manual_seed(5))
    assert torch.equal(drawn, noise_of_video_and_sound(surrogate.latent_shape(1), torch.Generator().manual_seed(5)))


@pytest.mark.parametrize("step", range(STEPS))
def test_video_and_sound_have_one_time_and_the_photos_tokens_none(surrogate: Surrogate, photos: Tensor, step: int) -> None:
    draw = at(surrogate, step)
    given = record(surrogate.denoiser, lambda: surrogate(photos, surrogate.encode_text([PROMPT]), draw))
    time = float(draw.timestep)
    assert given["timestep"].shape == (2, math.prod(VIDEO[1:]))
    assert (given["timestep"][:, :PHOTO_TOKENS] == 0).all()
    assert (given["timestep"][:, PHOTO_TOKENS:] == time).all()
    assert given["audio_timestep"].tolist() == given["sigma"].tolist() == [time] * 2
    vae = surrogate.pipeline.vae
    with torch.no_grad():
        raw = vae.encode((2 * photos - 1).unsqueeze(2)).latent_dist.mode()
    tokens = (raw.flatten(2).transpose(1, 2) - vae.latents_mean) / vae.latents_std
    torch.testing.assert_close(given["hidden_states"][:, :PHOTO_TOKENS], tokens, atol=1e-5, rtol=0)


def test_a_still_clip_is_noised_as_the_scheduler_does_and_sounds_like_the_average(surrogate: Surrogate, photos: Tensor) -> None:
    scheduler = surrogate._schedule(STEPS)
    known = surrogate.condition(photos.clone().requires_grad_())
    still = known["latents"].detach().expand(2, *VIDEO).flatten(1)
    clean = torch.cat([still, torch.zeros(2, math.prod(SOUND))], dim=1)
    for step in range(1, STEPS):
        draw = at(surrogate, step)
        noisy = surrogate.noisy(known, draw)
        torch.testing.assert_close(noisy, scheduler.scale_noise(clean, draw.timestep.expand(2), draw.noise), atol=1e-5, rtol=0)
        assert not noisy.requires_grad
    assert torch.equal(surrogate.noisy(known, at(surrogate, 0)), at(surrogate, 0).noise)


def test_the_shift_grows_with_the_videos_tokens(surrogate: Surrogate) -> None:
    few, many, low, high = SHIFT
    grown = math.exp(low + (math.prod(VIDEO[1:]) - few) / (many - few) * (high - low))
    shifted = [grown / (grown + 1 / s - 1) for s in (1, 0.75, 0.5, 0.25)]
    assert surrogate.sigmas == pytest.approx([1 - (1 - s) / (1 - shifted[-1]) * (1 - TERMINAL) for s in shifted], abs=1e-6)


def test_sound_is_as_long_as_the_video(folders: dict[str, Path], photos: Tensor) -> None:
    for num_frames, length in ((FRAMES, 9), (25, 26)):  # 25 latents a second, 24 frames
        longer = build(folders["2.0"], num_frames=num_frames)
        given = record(longer.denoiser, lambda s=longer: s(photos, s.encode_text([PROMPT]), at(s, 0)))  # type: ignore[misc]
        assert given["audio_num_frames"] == length
        assert given["audio_hidden_states"].shape == (2, length, SOUND[0] * SOUND[2])
        assert given["audio_coords"].shape == (2, 1, length, 2)


def test_what_is_seen_depends_on_what_is_heard(surrogate: Surrogate, photos: Tensor) -> None:
    draw = at(surrogate, 0)
    other = draw.noise.clone()
    other[:, math.prod(VIDEO) :] *= -1
    text = surrogate.encode_text([PROMPT])
    with torch.no_grad():
        one = surrogate(photos, text, draw)
        two = surrogate(photos, text, Draw(0, draw.timestep, draw.sigma, other))
    assert all(one[tap].shape == (2, math.prod(VIDEO[1:]), 32) for tap in TAPS)
    assert (one[TAPS[1]] - two[TAPS[1]]).abs().max() > 1e-6


def test_the_photo_is_taken_as_with_image_crf_0(surrogate: Surrogate, folders: dict[str, Path], photos: Tensor) -> None:
    pipeline = row().load(folders["2.0"])
    text = surrogate.encode_text([PROMPT])
    mine = record(surrogate.denoiser, lambda: surrogate.animate(photos[:1], text, 3))["hidden_states"]
    plain = record(pipeline.transformer, lambda: row().call(pipeline, photos[0], 3))["hidden_states"]
    torch.testing.assert_close(mine, plain, atol=1e-5, rtol=0)


def test_the_default_call_shows_the_denoiser_another_photo(folders: dict[str, Path], photos: Tensor) -> None:
    pytest.importorskip("av")  # which the pipeline compresses with
    pipeline = row().load(folders["2.0"])
    plain = record(pipeline.transformer, lambda: row().call(pipeline, photos[0], 3))["hidden_states"]
    coded = record(pipeline.transformer, lambda: row(image_crf=None).call(pipeline, photos[0], 3))["hidden_states"]
    assert (coded[:, :PHOTO_TOKENS] - plain[:, :PHOTO_TOKENS]).abs().max() > 1e-3
    assert torch.equal(coded[:, PHOTO_TOKENS:], plain[:, PHOTO_TOKENS:])


@pytest.mark.parametrize(("name", "widths"), [("2.0", (16, 16)), ("2.3", (32, 16))])
def test_what_is_kept_of_a_prompt_is_what_the_connectors_make_of_it(
    surrogates: dict[str, Surrogate], name: str, widths: tuple[int, int]
) -> None:
    surrogate = surrogates[name]
    text = surrogate.encode_text([PROMPT, "she waves"])
    shapes = {key: (tuple(value.shape[1:]), value.dtype) for key, value in text.items()}
    assert shapes == surrogate.text_shapes()
    assert tuple(text[key].shape[-1] for key in ("encoder_hidden_states", "audio_encoder_hidden_states")) == widths
    pipeline = surrogate.pipeline
    with torch.no_grad():
        states, mask, _, _ = pipeline.encode_prompt([PROMPT, "she waves"], do_classifier_free_guidance=False)
        together = pipeline.connectors(states, mask, padding_side="left")
    for key, expected in zip(text, together, strict=True):
        torch.testing.assert_close(text[key], expected, atol=1e-5, rtol=0)


def test_of_the_pipeline_only_what_is_needed_is_kept(folders: dict[str, Path]) -> None:
    lean = Surrogate.from_pretrained(str(folders["2.0"]), list(TAPS), HEIGHT, WIDTH, FRAMES, STEPS, [PROMPT])
    held = {name for name, part in lean.pipeline.components.items() if isinstance(part, torch.nn.Module)}
    assert held == {"transformer", "vae"}
    assert json.loads((folders["2.0"] / "model_index.json").read_text())["vocoder"] == ["ltx2", "LTX2Vocoder"]


def test_language_model_and_connectors_are_counted_as_text_encoders(folders: dict[str, Path]) -> None:
    pipeline = row().load(folders["2.0"])
    expected = sum(p.numel() * 4 for part in (pipeline.text_encoder, pipeline.connectors) for p in part.parameters())
    assert text_encoder_bytes(str(folders["2.0"])) == expected


@pytest.mark.parametrize(
    ("height", "num_frames", "steps", "message"),
    [
        (48, FRAMES, STEPS, "height × width is 48 × 64; this LTX needs multiples of 32 × 32"),
        (HEIGHT, 8, STEPS, "num_frames is 8; this LTX needs 1 \\+ a multiple of 4"),
        (HEIGHT, FRAMES, 1, "steps is 1; this LTX's schedule runs from 1 to 0.1"),
    ],
)
def test_what_the_pipeline_refuses_or_rounds_is_refused(
    folders: dict[str, Path], height: int, num_frames: int, steps: int, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        build(folders["2.0"], height, num_frames, steps)
