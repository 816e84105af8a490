"""What is peculiar to FramePack: sections from the end to the beginning, their history, and how they are joined."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from anti_i2v.surrogates import Surrogate
from anti_i2v.surrogates.memory.estimate import estimate_memory
from tests.surrogates.family import FAMILIES, PROMPT, STEPS, Family, draw_at
from tests.surrogates.oracle import assert_close, record, record_calls
from tests.tiny.framepack import tiny_framepack


@pytest.fixture(scope="module")
def family() -> Family:
    return FAMILIES["framepack"]


@pytest.mark.parametrize(("call_frames", "num_frames"), [(33, 37), (133, 181)])
def test_every_section_is_what_the_pipeline_makes_and_the_clip_is_as_long(
    family: Family, folder: Path, pipeline: DiffusionPipeline, photos: Tensor, call_frames: int, num_frames: int
) -> None:
    surrogate, clips = family.surrogate(folder, num_frames=num_frames), []
    text, options = surrogate.encode_text([PROMPT]), {"num_frames": call_frames, "num_inference_steps": 1}
    mine = record_calls(surrogate.denoiser, lambda: clips.append(surrogate.animate(photos[:1], text, 3, steps=1)))
    theirs = record_calls(pipeline.transformer, lambda: clips.append(family.call(pipeline, photos[0], 3, **options)))
    assert len(mine) == len(theirs) == (num_frames - 1) // 36
    for section, arguments in enumerate(theirs):
        assert arguments.keys() == mine[section].keys()
        for name, value in arguments.items():
            if isinstance(value, Tensor):
                assert_close(mine[section][name], value, name=name)
    assert clips[0].shape == (1, num_frames, 3, family.height, family.width)
    assert_close(*clips)


def test_features_are_those_of_the_first_section_which_has_no_history(
    family: Family, folder: Path, surrogate: Surrogate, photos: Tensor
) -> None:
    text, draw = surrogate.encode_text([PROMPT]), draw_at(surrogate, 1)
    arguments = record(surrogate.denoiser, lambda: surrogate(photos, text, draw))
    assert not arguments["latents_history_2x"].any()
    assert not arguments["latents_history_4x"].any()
    assert not arguments["latents_clean"][:, :, 1:].any()
    assert torch.equal(arguments["latents_clean"][:, :, :1], surrogate.condition(photos)["latents"])
    assert arguments["indices_latents_clean"][0] == 0
    assert arguments["indices_latents"].tolist() == list(range(10, 19))  # of two sections the second
    longer = family.surrogate(folder, num_frames=36 * 5 + 1)
    far = record(longer.denoiser, lambda: longer(photos, text, draw))["indices_latents"]
    assert far.tolist() == list(range(1 + 3 * 9, 1 + 4 * 9))  # of many sections as of four


def test_photos_have_their_own_noise_in_every_section(surrogate: Surrogate, photos: Tensor) -> None:
    text = surrogate.encode_text([PROMPT])
    sections = record_calls(surrogate.denoiser, lambda: surrogate.animate(photos, text, 3, steps=1))
    first, second = (section["hidden_states"] for section in sections)
    for one, other in ((first[0], first[1]), (second[0], second[1]), (first[0], second[0]), (first[1], second[1])):
        assert (one - other).abs().mean() > 0.5


def test_siglip_sees_the_photo_with_overshoots_as_in_the_pipeline(
    family: Family, surrogate: Surrogate, pipeline: DiffusionPipeline
) -> None:
    edges = torch.zeros(1, 3, family.height, family.width)
    edges[..., family.width // 2 :] = 1
    with torch.no_grad():
        mine = surrogate.condition(edges)["image_embeds"]
        assert_close(mine, pipeline.encode_image(edges * 2 - 1))
    pixels = pipeline.feature_extractor(images=edges, do_rescale=False, return_tensors="pt").pixel_values
    assert pixels.max() > 1.01  # of -1 to 1: nothing is rounded to 8 bits, so nothing is cut off


def test_guidance_is_rounded_in_half_precision_as_in_the_pipeline(family: Family, folder: Path, photos: Tensor) -> None:
    half = family.surrogate(folder, dtype="bfloat16")
    mine = record(half.denoiser, lambda: half(photos[:1], half.encode_text([PROMPT]), half.draw(1, torch.Generator())))
    pipeline = family.load(folder, torch.bfloat16)
    arguments = record(pipeline.transformer, lambda: family.call(pipeline, photos[0], 3))
    assert mine["guidance"].dtype == arguments["guidance"].dtype == torch.bfloat16
    assert mine["guidance"].tolist() == arguments["guidance"].tolist() == [6016.0]
    assert mine["timestep"].dtype == arguments["timestep"].dtype == torch.float32


def test_prompts_are_read_as_the_pipeline_reads_each_alone(surrogate: Surrogate, pipeline: DiffusionPipeline) -> None:
    prompts = [PROMPT, "", "she waves at the camera, " * 20]
    mine = surrogate.encode_text(prompts)
    for i, prompt in enumerate(prompts):
        states, pooled, mask = pipeline.encode_prompt(prompt)
        assert_close(mine["encoder_hidden_states"][i : i + 1], states)
        assert_close(mine["pooled_projections"][i : i + 1], pooled)
        assert torch.equal(mine["encoder_attention_mask"][i : i + 1], mask.float())


def test_the_shift_grows_with_the_tokens_of_a_section_up_to_seven(
    family: Family, tmp_path: Path, folder: Path, surrogate: Surrogate
) -> None:
    def shifted(factor: float) -> Any:
        shares = np.linspace(1, 0, STEPS + 1)[:-1]
        return pytest.approx((factor * shares / (1 + (factor - 1) * shares)).tolist(), rel=1e-5)

    tokens = 9 * (family.height // 16) * (family.width // 16)
    assert surrogate.sigmas == shifted(math.exp(0.5 + (1.15 - 0.5) / (4096 - 256) * (tokens - 256)))
    assert family.surrogate(folder, height=832, width=832).sigmas == shifted(7.0)
    assert family.surrogate(tiny_framepack(tmp_path, shifts=False)).sigmas == shifted(7.0)  # the scheduler's own


@pytest.mark.parametrize("batch", [1, 2])
def test_memory_is_estimated_although_the_pipeline_cuts_prompts_by_their_mask(family: Family, folder: Path, batch: int) -> None:
    memory = estimate_memory(str(folder), family.taps, family.height, family.width, family.num_frames, batch)
    assert memory.peak > memory.after_forward > 0
