"""What is peculiar to SkyReels-V2 diffusion forcing; the rest is in `test_families`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.surrogates import Draw, Surrogate
from anti_i2v.surrogates.families.skyreels_df import SkyReelsV2DFSurrogate
from tests.surrogates.family import PROMPT, STEPS, Family
from tests.surrogates.oracle import record
from tests.tiny.skyreels_df import tiny_skyreels_df
from tests.tiny.wan import FRAMES

TAPS = ("blocks.1", "blocks.2")
FAMILY = Family("skyreels-v2-df", tiny_skyreels_df, TAPS, FRAMES, options={"guidance_scale": 1.0})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_skyreels_df(tmp_path_factory.mktemp("skyreels-v2-df"))


@pytest.fixture(scope="module")
def surrogate(folder: Path) -> Surrogate:
    return FAMILY.surrogate(folder)


@pytest.fixture(scope="module")
def photos() -> Tensor:
    return FAMILY.photos()


def build(folder: Path, height: int = FAMILY.height, num_frames: int = FRAMES) -> Surrogate:
    return Surrogate.from_pretrained(str(folder), list(TAPS), height, FAMILY.width, num_frames, STEPS)


def at(surrogate: Surrogate, step: int) -> Draw:
    noise = surrogate.draw(2, torch.Generator().manual_seed(7)).noise
    return Draw(step, surrogate.timesteps[step], surrogate.sigmas[step], noise)


@pytest.mark.parametrize("step", range(STEPS))
def test_every_latent_frame_has_its_timestep_and_the_photos_is_zero(surrogate: Surrogate, photos: Tensor, step: int) -> None:
    draw = at(surrogate, step)
    given = record(surrogate.denoiser, lambda: surrogate(photos, surrogate.encode_text([PROMPT]), draw))
    time = int(draw.timestep)
    assert given["timestep"].dtype == torch.int64
    assert given["timestep"].tolist() == [[0, time, time]] * 2
    vae = surrogate.pipeline.vae
    mean, std = (torch.tensor(values).view(1, -1, 1, 1, 1) for values in (vae.config.latents_mean, vae.config.latents_std))
    with torch.no_grad():
        photo = (vae.encode((2 * photos - 1).unsqueeze(2)).latent_dist.mode() - mean) / std
    torch.testing.assert_close(given["hidden_states"][:, :, :1], photo, atol=1e-6, rtol=0)


def test_a_still_clip_is_noised_as_the_scheduler_does(surrogate: Surrogate, photos: Tensor) -> None:
    scheduler = surrogate._schedule(STEPS)
    known = surrogate.condition(photos.clone().requires_grad_())
    for step in range(1, STEPS):
        draw = at(surrogate, step)
        still = known["latents"].detach().expand_as(draw.noise)
        noisy = surrogate.noisy(known, draw)
        torch.testing.assert_close(noisy, scheduler.add_noise(still, draw.noise, draw.timestep.expand(2)), atol=1e-6, rtol=0)
        assert not noisy.requires_grad


def test_a_long_clip_is_one_window(folder: Path, photos: Tensor) -> None:
    # 97 frames is where the call begins to ask for overlapping windows, unless base_num_frames is raised
    surrogate = build(folder, num_frames=101)
    pipeline = FAMILY.load(folder)
    row = Family("long", tiny_skyreels_df, TAPS, 101, options={"guidance_scale": 1.0, "base_num_frames": 101})
    theirs = record(pipeline.transformer, lambda: row.call(pipeline, photos[0], 3))
    text = surrogate.encode_text([PROMPT])
    mine = record(surrogate.denoiser, lambda: surrogate.animate(photos[:1], text, 3))
    assert mine["hidden_states"].shape == (1, 4, 26, 4, 6)
    torch.testing.assert_close(mine["hidden_states"], theirs["hidden_states"], atol=1e-5, rtol=0)


def test_the_corrector_starts_from_what_the_first_step_was_overwritten_with(
    surrogate: Surrogate, folder: Path, photos: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = FAMILY.call(FAMILY.load(folder), photos[0], 11)
    text = surrogate.encode_text([PROMPT])
    torch.testing.assert_close(surrogate.animate(photos[:1], text, 11), theirs, atol=1e-5, rtol=0)
    monkeypatch.setattr(SkyReelsV2DFSurrogate, "denoise", Surrogate.denoise)  # whose scheduler keeps what it was given
    assert (surrogate.animate(photos[:1], text, 11) - theirs).abs().max() > 1e-3


def test_the_padding_of_a_prompt_counts_up_to_512_tokens(surrogate: Surrogate) -> None:
    assert surrogate.pipeline.tokenizer.model_max_length == 32
    embeds = surrogate.encode_text([PROMPT])["prompt_embeds"]
    assert embeds.shape == (1, 512, 16)
    words = len(PROMPT) + 2  # a word mark and an end
    assert (embeds[0, words:] == 0).all()
    assert (embeds[0, words - 1] != 0).any()


@pytest.mark.parametrize(("rate", "entry"), [(16, 0), (24, 1)])
def test_the_denoiser_is_told_whether_the_clip_is_slow(
    folder: Path, photos: Tensor, rate: int, entry: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    surrogate = build(folder)
    monkeypatch.setattr(surrogate, "frame_rate", rate)
    row = Family("rate", tiny_skyreels_df, TAPS, FRAMES, options={"guidance_scale": 1.0, "fps": rate})
    text = surrogate.encode_text([PROMPT])
    assert record(surrogate.denoiser, lambda: surrogate(photos, text, at(surrogate, 0)))["fps"] == [entry]
    torch.testing.assert_close(surrogate.animate(photos[:1], text, 11), row.call(surrogate.pipeline, photos[0], 11), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("height", "num_frames", "message"),
    [
        (24, FRAMES, "height × width is 24 × 48; this SkyReels-V2 needs multiples of 16 × 16"),
        (32, 8, "num_frames is 8; this SkyReels-V2 needs 1 \\+ a multiple of 4"),
        (32, 1, "num_frames is 1, which is the photo itself; this SkyReels-V2 needs 5, 9, …"),
    ],
)
def test_sizes_the_pipeline_refuses_or_rounds_are_refused(folder: Path, height: int, num_frames: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(folder, height, num_frames)


def test_blocks_of_several_frames_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"num_frame_per_block is 3: .*supported: 1"):
        build(tiny_skyreels_df(tmp_path, num_frame_per_block=3))


def test_a_denoiser_that_reads_the_photo_beside_the_noise_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"reads 12 channels, not 4 .*SkyReels-V2-DF-1.3B-540P-Diffusers"):
        build(tiny_skyreels_df(tmp_path, in_channels=12))


def test_the_text_to_video_pipeline_that_checkpoints_name_is_taken_for_image_to_video(
    surrogate: Surrogate, photos: Tensor, tmp_path: Path
) -> None:
    folder = tiny_skyreels_df(tmp_path)
    file = folder / "model_index.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"_class_name": "SkyReelsV2DiffusionForcingPipeline"}))
    named = build(folder)
    assert type(named.pipeline).__name__ == "SkyReelsV2DiffusionForcingPipeline"
    text = surrogate.encode_text([PROMPT])
    assert torch.equal(named.animate(photos, named.encode_text([PROMPT]), seed=3), surrogate.animate(photos, text, seed=3))
