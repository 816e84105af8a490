"""What is peculiar to HunyuanVideo 1.5: sizes of its own, SigLIP, glyphs in quotation marks, mean flow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from anti_i2v.surrogates import Surrogate
from anti_i2v.surrogates.families.wan_concat import resize_for_clip
from tests.surrogates.family import FAMILIES, PROMPT, STEPS, Family, TinyModels, draw_at, to_picture
from tests.surrogates.oracle import assert_close, record
from tests.tiny.hunyuan_video15 import HEIGHT, WIDTH


@pytest.fixture(scope="module")
def family() -> Family:
    return FAMILIES["hunyuan-video-1.5"]


def test_clips_are_equal_where_siglip_need_not_resize(family: Family, folder: Path, pipeline: DiffusionPipeline) -> None:
    square, photo = family.surrogate(folder, height=48, width=48), family.photos(48, 48)[:1]
    clip = square.animate(photo, square.encode_text([PROMPT]), seed=3)
    assert_close(clip, family.call(pipeline, photo[0], 3))


def test_siglip_gets_the_resized_photo_but_for_the_rounding_to_8_bits(surrogate: Surrogate, photos: Tensor) -> None:
    process = surrogate.pipeline.feature_extractor
    theirs = process.preprocess(images=to_picture(photos[0]), return_tensors="pt").pixel_values
    levels = (resize_for_clip(photos[:1], process) - theirs).abs() * 255 / 2  # normalised to [-1, 1]
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
            assert_close(latents[i : i + 1], expected)


def test_text_in_quotation_marks_is_read_letter_by_letter_too(surrogate: Surrogate, pipeline: DiffusionPipeline) -> None:
    prompts = [PROMPT, 'a sign says "stop"', ""]
    mine = surrogate.encode_text(prompts)
    for i, prompt in enumerate(prompts):
        theirs = pipeline.encode_prompt(prompt)
        for name, value in zip(mine, theirs, strict=True):
            assert_close(mine[name][i : i + 1], value)
    assert mine["encoder_attention_mask_2"].sum(1).tolist() == [0, len('Text "stop". ') + 1, 0]  # and an end


def test_the_schedule_is_that_of_the_pipelines_call(surrogate: Surrogate) -> None:
    shares = [1 - i / STEPS for i in range(STEPS)]
    assert surrogate.sigmas == pytest.approx([5 * share / (1 + 4 * share) for share in shares], rel=1e-6)  # shifted by 5
    assert surrogate.timesteps.tolist() == pytest.approx([1000 * sigma for sigma in surrogate.sigmas])


def test_mean_flow_is_given_the_next_timestep_of_the_schedule_in_use(tiny: TinyModels, surrogate: Surrogate, photos: Tensor) -> None:
    mean: Any = tiny.surrogate("hunyuan-video-1.5-meanflow")
    text = mean.encode_text([PROMPT])
    schedule = [*mean.timesteps.tolist(), 0.0]
    for step in range(STEPS):
        arguments = record(mean.denoiser, lambda step=step: mean(photos, text, draw_at(mean, step)))  # type: ignore[misc]
        assert arguments["timestep"].tolist() == [schedule[step]] * 2
        assert arguments["timestep_r"].tolist() == [schedule[step + 1]] * 2
    finer = mean._schedule(6).timesteps.tolist()
    arguments = record(mean.denoiser, lambda: mean.animate(photos[:1], text, 0, steps=6), skip=2)
    assert (arguments["timestep"].tolist(), arguments["timestep_r"].tolist()) == ([finer[2]], [finer[3]])
    usual = record(surrogate.denoiser, lambda: surrogate(photos, text, draw_at(surrogate, 1)))
    assert usual["timestep_r"] is None


def test_sizes_that_are_taken_make_clips_of_that_size(
    family: Family, folder: Path, surrogate: Surrogate, pipeline: DiffusionPipeline
) -> None:
    clip_size: Any = surrogate._clip_size
    sizes = {clip_size(height, width) for height in range(16, 80, 8) for width in range(16, 80, 8)}
    unchanged = [size for size in sizes if clip_size(*size) == size]
    assert (HEIGHT, WIDTH) in unchanged
    assert len(unchanged) > 4
    for height, width in unchanged[:3]:
        photo = family.photos(height, width)[0]
        noisy = record(pipeline.transformer, lambda photo=photo: family.call(pipeline, photo, 3))["hidden_states"]  # type: ignore[misc]
        assert noisy.shape[-2:] == family.surrogate(folder, height=height, width=width).clip_shape[-2:]
