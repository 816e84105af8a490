"""What is peculiar to SANA-Video; the rest is in `test_families`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.surrogates import Draw, Surrogate
from tests.surrogates.family import PROMPT, STEPS, Family
from tests.surrogates.oracle import record
from tests.tiny.sana_video import FRAMES, HEIGHT, SHIFT, TAPS, WIDTH, tiny_sana_480p, tiny_sana_720p

OPTIONS = {"guidance_scale": 1.0, "use_resolution_binning": False}
WRITTEN = {"480p": tiny_sana_480p, "720p": tiny_sana_720p}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: write(tmp_path_factory.mktemp(name)) for name, write in WRITTEN.items()}


@pytest.fixture(scope="module")
def surrogates(folders: dict[str, Path]) -> dict[str, Surrogate]:
    return {name: build(folder) for name, folder in folders.items()}


@pytest.fixture(scope="module")
def photos() -> Tensor:
    return row("480p").photos()


def row(name: str) -> Family:
    return Family(name, WRITTEN[name], TAPS, FRAMES, HEIGHT, WIDTH, options=OPTIONS, length="frames")


def build(folder: Path, height: int = HEIGHT, num_frames: int = FRAMES) -> Surrogate:
    return Surrogate.from_pretrained(str(folder), list(TAPS), height, WIDTH, num_frames, STEPS)


def rewritten(file: Path, **changes: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def copied(folder: Path, to: Path, **changes: object) -> Path:
    shutil.copytree(folder, to)
    rewritten(to / "model_index.json", **changes)
    return to


def at(surrogate: Surrogate, step: int) -> Draw:
    noise = surrogate.draw(2, torch.Generator().manual_seed(7)).noise
    return Draw(step, surrogate.timesteps[step], surrogate.sigmas[step], noise)


def statistics(surrogate: Surrogate) -> tuple[Tensor, Tensor]:
    vae = surrogate.pipeline.vae
    source = vae.config if hasattr(vae.config, "latents_mean") else vae
    mean, std = (torch.as_tensor(values).view(1, -1, 1, 1, 1) for values in (source.latents_mean, source.latents_std))
    return mean, std


def test_the_text_to_video_pipeline_that_checkpoints_name_is_taken_for_image_to_video(
    folders: dict[str, Path], surrogates: dict[str, Surrogate], photos: Tensor, tmp_path: Path
) -> None:
    named = build(copied(folders["480p"], tmp_path / "copy", _class_name="SanaVideoPipeline"))
    assert type(named.pipeline).__name__ == "SanaVideoPipeline"
    plain = surrogates["480p"]
    text = plain.encode_text([PROMPT])
    assert torch.equal(named.animate(photos, named.encode_text([PROMPT]), seed=3), plain.animate(photos, text, seed=3))


@pytest.mark.parametrize("name", WRITTEN)
def test_the_photos_tokens_have_timestep_zero(surrogates: dict[str, Surrogate], photos: Tensor, name: str) -> None:
    surrogate = surrogates[name]
    draw = at(surrogate, 2)
    given = record(surrogate.denoiser, lambda: surrogate(photos, surrogate.encode_text([PROMPT]), draw))
    assert given["timestep"].shape == (2, 1, 3, 2, 4)
    assert (given["timestep"][:, :, 0] == 0).all()
    assert (given["timestep"][:, :, 1:] == float(draw.timestep)).all()
    mean, std = statistics(surrogate)
    with torch.no_grad():
        photo = (surrogate.pipeline.vae.encode((2 * photos - 1).unsqueeze(2)).latent_dist.mode() - mean) / std
    torch.testing.assert_close(given["hidden_states"][:, :, :1], photo, atol=1e-5, rtol=0)


def test_a_still_clip_is_noised_as_the_scheduler_does(surrogates: dict[str, Surrogate], photos: Tensor) -> None:
    for surrogate in surrogates.values():
        scheduler = surrogate._schedule(STEPS)
        known = surrogate.condition(photos.clone().requires_grad_())
        for step in range(1, STEPS):
            draw = at(surrogate, step)
            still, times = known["latents"].detach().expand_as(draw.noise), draw.timestep.expand(2)
            if isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
                theirs = scheduler.scale_noise(still, times, draw.noise)
            else:
                theirs = scheduler.add_noise(still, draw.noise, times)
            noisy = surrogate.noisy(known, draw)
            torch.testing.assert_close(noisy, theirs, atol=1e-5, rtol=0)
            assert not noisy.requires_grad


def test_the_schedule_of_720p_is_the_shifted_flows(surrogates: dict[str, Surrogate]) -> None:
    last = SHIFT * 0.001 / (1 + (SHIFT - 1) * 0.001)  # the scheduler shifts when it is built, and again at every call
    levels = torch.linspace(1, last, STEPS)
    assert surrogates["720p"].sigmas == pytest.approx((SHIFT * levels / (1 + (SHIFT - 1) * levels)).tolist(), abs=1e-6)


@pytest.mark.parametrize("name", WRITTEN)
def test_decode_undoes_the_normalisation(surrogates: dict[str, Surrogate], name: str) -> None:
    surrogate = surrogates[name]
    latents = torch.randn(surrogate.latent_shape(2), generator=torch.Generator().manual_seed(0))
    mean, std = statistics(surrogate)
    with torch.no_grad():
        video = surrogate.pipeline.vae.decode(latents * std + mean).sample
        expected = ((video + 1) / 2).clamp(0, 1).transpose(1, 2)
        torch.testing.assert_close(surrogate.decode(latents), expected, atol=1e-6, rtol=0)


def test_steps_that_add_noise_draw_it_from_the_calls_generator(folders: dict[str, Path], photos: Tensor, tmp_path: Path) -> None:
    folder = copied(folders["720p"], tmp_path / "copy")
    FlowMatchEulerDiscreteScheduler(shift=SHIFT, stochastic_sampling=True).save_pretrained(folder / "scheduler")
    surrogate = build(folder)
    clips = surrogate.animate(photos, surrogate.encode_text([PROMPT]), seed=11)
    torch.testing.assert_close(clips[:1], row("720p").call(surrogate.pipeline, photos[0], 11), atol=1e-4, rtol=0)


def test_the_prompt_follows_an_instruction_of_which_the_denoiser_sees_nothing_but_the_start(surrogates: dict[str, Surrogate]) -> None:
    surrogate = surrogates["480p"]
    text = surrogate.encode_text([PROMPT])
    assert text["encoder_hidden_states"].shape == (1, 300, 16)
    # the start, the prompt and the tokens after it that are padding; one of the instruction's own, its last space, stays
    assert 1 + len(PROMPT) <= int(text["encoder_attention_mask"].sum()) <= 3 + len(PROMPT)
    with torch.no_grad():
        bare = surrogate.pipeline.encode_prompt([PROMPT], do_classifier_free_guidance=False)[0]
    assert (bare - text["encoder_hidden_states"]).abs().max() > 1e-3


def test_sizes_of_the_training_bins_need_no_option(folders: dict[str, Path]) -> None:
    # 480 × 832 is one of them: the call with and without binning is the same, and the surrogate takes no other size for it
    processor = row("480p").load(folders["480p"]).video_processor
    from diffusers.pipelines.sana_video.pipeline_sana_video import ASPECT_RATIO_480_BIN

    assert processor.classify_height_width_bin(480, 832, ratios=ASPECT_RATIO_480_BIN) == (480, 832)
    assert processor.classify_height_width_bin(HEIGHT, WIDTH, ratios=ASPECT_RATIO_480_BIN) != (HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("height", "num_frames", "message"),
    [
        (48, FRAMES, "height × width is 48 × 64; this SANA-Video needs multiples of 32 × 32"),
        (HEIGHT, 8, "num_frames is 8; this SANA-Video needs 1 \\+ a multiple of 4: 5, 9, …"),
        (HEIGHT, 1, "num_frames is 1"),
    ],
)
def test_sizes_the_pipeline_refuses_or_rounds_are_refused(folders: dict[str, Path], height: int, num_frames: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(folders["480p"], height, num_frames)


@pytest.mark.parametrize(
    ("part", "kind", "message"),
    [
        ("vae", "AutoencoderDC", "is a AutoencoderDC; supported SANA-Video: AutoencoderKLWan or AutoencoderKLLTX2Video"),
        ("transformer", "SanaVideoCausalTransformer3DModel", "is a SanaVideoCausal.*supported SANA-Video: SanaVideoTransformer3DModel"),
    ],
)
def test_variants_the_pipeline_cannot_run_are_refused(folders: dict[str, Path], tmp_path: Path, part: str, kind: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(copied(folders["480p"], tmp_path / "copy", **{part: ["diffusers", kind]}))
