"""What is peculiar to HunyuanVideo 1.5: sizes of its own, SigLIP, glyphs in quotation marks, mean flow."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.surrogates import Draw, Surrogate
from anti_i2v.surrogates.families.wan_concat import shown_to_clip
from tests.surrogates.oracle import record
from tests.tiny.hunyuan_video15 import FRAMES, HEIGHT, TAPS, WIDTH, tiny_hunyuan_video15, unguided

STEPS = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_hunyuan_video15(tmp_path_factory.mktemp("hunyuan-video-1.5"))


@pytest.fixture(scope="module")
def surrogate(folder: Path) -> Surrogate:
    return load(folder)


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> DiffusionPipeline:
    return DiffusionPipeline.from_pretrained(folder, dtype=torch.float32, use_safetensors=True, **unguided(folder))


@pytest.fixture
def photos() -> Tensor:
    """Two photos on the 8-bit grid."""
    return some_photos(HEIGHT, WIDTH)


def some_photos(height: int, width: int) -> Tensor:
    return torch.randint(0, 256, (2, 3, height, width), generator=torch.Generator().manual_seed(1)) / 255


def load(folder: Path, height: int = HEIGHT, width: int = WIDTH, frames: int = FRAMES) -> Surrogate:
    return Surrogate.from_pretrained(str(folder), TAPS, height, width, frames, STEPS)


def at_step(surrogate: Surrogate, step: int) -> Draw:
    drawn = surrogate.draw(2, torch.Generator().manual_seed(7))
    return Draw(step, surrogate.timesteps[step], surrogate.sigmas[step], drawn.noise)


def picture(photo: Tensor) -> Image.Image:
    return Image.fromarray((photo * 255).round().byte().permute(1, 2, 0).numpy())


# ------------------------------------------------------------------------------------------------------------ photo
def test_nothing_is_off_where_siglip_need_not_resize(folder: Path, pipeline: DiffusionPipeline) -> None:
    square, photo = load(folder, 48, 48), some_photos(48, 48)[:1]
    clip = square.animate(photo, square.encode_text(["a dog runs"]), seed=3)
    theirs = pipeline(
        picture(photo[0]),
        "a dog runs",
        num_frames=FRAMES,
        num_inference_steps=STEPS,
        generator=torch.Generator().manual_seed(3),
        output_type="pt",
    ).frames
    torch.testing.assert_close(clip, theirs, atol=1e-5, rtol=0)


def test_siglip_is_shown_the_resized_photo_but_for_the_rounding_to_8_bits(surrogate: Surrogate, photos: Tensor) -> None:
    process = surrogate.pipeline.feature_extractor
    theirs = process.preprocess(images=picture(photos[0]), return_tensors="pt").pixel_values
    levels = (shown_to_clip(photos[:1], process) - theirs).abs() * 255 / 2  # normalised to [-1, 1]
    assert levels.mean() < 0.35  # rounding twice is off by a quarter to a third of a level
    assert levels.max() < 2


def test_photos_go_through_the_autoencoder_one_by_one(surrogate: Surrogate, pipeline: DiffusionPipeline, photos: Tensor) -> None:
    scale = pipeline.vae.config.scaling_factor
    assert scale != 1
    with torch.no_grad():
        with pytest.raises(RuntimeError):  # what is worked around: the autoencoder's own mask fits a single clip
            pipeline.vae.encode((2 * photos - 1).unsqueeze(2))
        latents = surrogate.condition(photos)["latents"]
        for i in range(2):
            expected = pipeline.vae.encode((2 * photos[i : i + 1] - 1).unsqueeze(2)).latent_dist.mode() * scale
            torch.testing.assert_close(latents[i : i + 1], expected, atol=1e-6, rtol=0)


def test_the_photo_stands_in_the_first_frame_of_its_own_channels(surrogate: Surrogate, photos: Tensor) -> None:
    draw = at_step(surrogate, 0)
    condition = surrogate.condition(photos)
    shown: Any = surrogate.inputs(condition, surrogate.encode_text(["a dog"] * 2), draw.noise, draw.timestep)["hidden_states"]
    assert torch.equal(shown[:, :4], draw.noise)
    assert torch.equal(shown[:, 4:8, :1], condition["latents"])
    assert not shown[:, 4:8, 1:].any()
    assert shown[:, 8, 0].eq(1).all()
    assert not shown[:, 8, 1:].any()


# ----------------------------------------------------------------------------------------------------------- prompts
def test_what_stands_in_quotation_marks_is_read_letter_by_letter_too(surrogate: Surrogate, pipeline: DiffusionPipeline) -> None:
    prompts = ["a dog runs", 'a sign says "stop"', ""]
    mine = surrogate.encode_text(prompts)
    for i, prompt in enumerate(prompts):
        theirs = pipeline.encode_prompt(prompt)
        for name, value in zip(mine, theirs, strict=True):
            torch.testing.assert_close(mine[name][i : i + 1], value, atol=1e-5, rtol=0)
    assert mine["encoder_attention_mask_2"].sum(1).tolist() == [0, len('Text "stop". ') + 1, 0]  # and an end


def test_both_text_encoders_are_frozen_and_dropped(folder: Path) -> None:
    surrogate = load(folder)
    encoders = surrogate.pipeline.text_encoder, surrogate.pipeline.text_encoder_2
    assert not any(p.requires_grad for part in encoders for p in part.parameters())
    surrogate.encode_text(["a dog"])
    surrogate.drop_text_encoder()
    assert (surrogate.pipeline.text_encoder, surrogate.pipeline.text_encoder_2) == (None, None)
    surrogate.encode_text(["a dog"])
    with pytest.raises(UsageError, match="the text encoder was dropped before the prompt 'she waves'"):
        surrogate.encode_text(["she waves"])


# ---------------------------------------------------------------------------------------------------------- sampling
def test_the_first_step_is_noise_and_later_ones_are_mixed_as_the_scheduler_does(surrogate: Surrogate, photos: Tensor) -> None:
    scheduler = copy.deepcopy(surrogate.pipeline.scheduler)
    scheduler.set_timesteps(sigmas=np.linspace(1, 0, STEPS + 1)[:-1])
    condition = surrogate.condition(photos.requires_grad_())
    assert torch.equal(surrogate.noisy(condition, at_step(surrogate, 0)), at_step(surrogate, 0).noise)
    for step in range(1, STEPS):
        later = at_step(surrogate, step)
        mixed = surrogate.noisy(condition, later)
        still = condition["latents"].expand_as(later.noise)
        theirs = scheduler.scale_noise(still, scheduler.timesteps[step].expand(2), later.noise)
        torch.testing.assert_close(mixed, theirs, atol=1e-6, rtol=0)
        assert not mixed.requires_grad


def test_the_schedule_is_the_calls(surrogate: Surrogate) -> None:
    shares = [1 - i / STEPS for i in range(STEPS)]
    assert surrogate.sigmas == pytest.approx([5 * share / (1 + 4 * share) for share in shares], rel=1e-6)  # shifted by 5
    assert surrogate.timesteps.tolist() == pytest.approx([1000 * sigma for sigma in surrogate.sigmas])


def test_mean_flow_is_told_the_next_timestep_of_the_schedule_in_use(tmp_path: Path, surrogate: Surrogate, photos: Tensor) -> None:
    mean: Any = load(tiny_hunyuan_video15(tmp_path, meanflow=True))
    text = mean.encode_text(["a dog runs"])
    schedule = [*mean.timesteps.tolist(), 0.0]
    for step in range(STEPS):
        given = record(mean.denoiser, lambda step=step: mean(photos, text, at_step(mean, step)))  # type: ignore[misc]
        assert given["timestep"].tolist() == [schedule[step]] * 2
        assert given["timestep_r"].tolist() == [schedule[step + 1]] * 2
    finer = mean._schedule(6).timesteps.tolist()
    given = record(mean.denoiser, lambda: mean.animate(photos[:1], text, 0, steps=6), skip=2)
    assert (given["timestep"].tolist(), given["timestep_r"].tolist()) == ([finer[2]], [finer[3]])
    usual = record(surrogate.denoiser, lambda: surrogate(photos, text, at_step(surrogate, 1)))
    assert usual["timestep_r"] is None


def test_decode_undoes_the_scaling(surrogate: Surrogate, pipeline: DiffusionPipeline) -> None:
    noise = at_step(surrogate, 0).noise[:1]
    assert surrogate.latent_shape(2) == (2, 4, 3, HEIGHT // 8, WIDTH // 8)
    with torch.no_grad():
        video = pipeline.vae.decode(noise / 1.03682).sample
        torch.testing.assert_close(surrogate.decode(noise), (video / 2 + 0.5).clamp(0, 1).transpose(1, 2), atol=1e-5, rtol=0)


# ---------------------------------------------------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((40, 64, 9), "height × width is 40 × 64; .* give one that it keeps, such as 40 × 56"),
        ((96, 96, 9), "height × width is 96 × 96; .* such as 48 × 48"),
        ((0, 56, 9), "height × width is 0 × 56; .* such as 24 × 96"),
        ((40, 56, 8), "num_frames is 8; HunyuanVideo 1.5 needs 1 \\+ a multiple of 4: 5, 9, …"),
        ((40, 56, -3), "num_frames is -3"),
    ],
)
def test_what_the_pipeline_would_make_otherwise_is_refused(folder: Path, size: tuple[int, int, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load(folder, *size)


def test_the_sizes_it_keeps_make_clips_of_that_size(folder: Path, surrogate: Surrogate, pipeline: DiffusionPipeline) -> None:
    kept: Any = surrogate
    sizes = {kept._kept(height, width) for height in range(16, 80, 8) for width in range(16, 80, 8)}
    good = [size for size in sizes if kept._kept(*size) == size]
    assert (HEIGHT, WIDTH) in good
    assert len(good) > 4
    for height, width in good[:3]:
        photo = torch.rand(3, height, width, generator=torch.Generator().manual_seed(2))
        noisy = record(pipeline.transformer, lambda photo=photo: pipeline(picture(photo), "a dog", num_frames=5))["hidden_states"]  # type: ignore[misc]
        assert noisy.shape[-2:] == load(folder, height, width).latent_shape(1)[-2:]
