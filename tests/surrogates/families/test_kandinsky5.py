"""What is peculiar to Kandinsky 5: prompts of any length without a mask, and first frames that are fitted to later ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.surrogates import Surrogate
from tests.surrogates.family import FAMILIES, Family, draw_at
from tests.surrogates.oracle import assert_close, record
from tests.tiny.kandinsky5 import FRAMES, tiny_kandinsky5


@pytest.fixture(scope="module")
def family() -> Family:
    return FAMILIES["kandinsky-5"]


PROMPTS = ["a dog runs", "she waves at the camera"]


def test_prompts_of_several_lengths_are_read_as_the_pipeline_reads_each_alone(surrogate: Surrogate, pipeline: DiffusionPipeline) -> None:
    text = surrogate.encode_text(PROMPTS)
    lengths = text["words"].sum(1).tolist()
    assert lengths[0] < lengths[1] == text["words"].shape[1]
    for i, prompt in enumerate(PROMPTS):
        states, pooled, _ = pipeline.encode_prompt(prompt)
        assert_close(text["encoder_hidden_states"][i : i + 1, : lengths[i]], states)
        assert_close(text["pooled_projections"][i : i + 1], pooled)
        assert not text["encoder_hidden_states"][i, lengths[i] :].any()


def test_photos_whose_prompts_differ_in_length_go_one_by_one_and_others_together(surrogate: Surrogate, photos: Tensor) -> None:
    draw = draw_at(surrogate, 1)
    for prompts, rows in ((PROMPTS, 1), (PROMPTS[:1], 2), (PROMPTS[1:] * 2, 2)):
        arguments = record(surrogate.denoiser, lambda prompts=prompts: surrogate(photos, surrogate.encode_text(prompts), draw))  # type: ignore[misc]
        assert len(arguments["hidden_states"]) == len(arguments["timestep"]) == rows
        assert arguments["encoder_hidden_states"].shape[1] == len(arguments["text_rope_pos"])


def test_a_clip_does_not_depend_on_the_prompts_beside_it(
    family: Family, surrogate: Surrogate, pipeline: DiffusionPipeline, photos: Tensor
) -> None:
    clips = surrogate.animate(photos, surrogate.encode_text(PROMPTS), seed=3)
    assert_close(clips[:1], family.call(pipeline, photos[0], 3, PROMPTS[0]))
    other = surrogate.animate(photos, surrogate.encode_text(PROMPTS[:1]), seed=3)
    assert_close(clips[:1], other[:1])


def test_noise_for_another_number_of_photos_is_refused_with_prompts_of_several_lengths_too(surrogate: Surrogate, photos: Tensor) -> None:
    draw = surrogate.draw(3, torch.Generator().manual_seed(7))
    with pytest.raises(UsageError, match="2 photos but a draw for 3"):
        surrogate(photos, surrogate.encode_text(PROMPTS), draw)


def test_a_denoiser_without_room_for_a_mask_gets_none(family: Family, photos: Tensor, tmp_path: Path) -> None:
    folder = tiny_kandinsky5(tmp_path, visual_cond=False)
    surrogate, pipeline = family.surrogate(folder), family.load(folder)
    mine = record(surrogate.denoiser, lambda: surrogate.animate(photos[:1], surrogate.encode_text(PROMPTS[:1]), 3))
    theirs = record(pipeline.transformer, lambda: family.call(pipeline, photos[0], 3, PROMPTS[0]))
    assert_close(mine["hidden_states"], theirs["hidden_states"])
    assert mine["hidden_states"].shape[-1] == 4


@pytest.mark.parametrize("size", [(32, 48), (480, 512), (480, 848), (480, 864)])
def test_positions_are_scaled_by_the_resolution_as_the_pipeline_does(
    family: Family, folder: Path, pipeline: DiffusionPipeline, size: tuple[int, int]
) -> None:
    surrogate: Any = family.surrogate(folder, height=size[0], width=size[1])
    expected = (1, 2, 2) if size in ((480, 512), (480, 848)) else (1, 3.16, 3.16)
    assert surrogate._scale == pipeline._get_scale_factor(*size) == expected


def test_the_first_frames_are_fitted_to_those_that_follow_each_clip_by_itself(surrogate: Surrogate, photos: Tensor) -> None:
    condition, latents = surrogate.condition(photos), draw_at(surrogate, 0).noise.clone()
    latents[1] = latents[1] * 3 + 1
    final = surrogate.finish(condition, latents)
    clip = torch.cat([condition["latents"], latents[:, 1:]], dim=1)
    assert torch.equal(final[:, 4:], latents[:, 4:])
    for i in range(2):
        first, rest = clip[i, :4], clip[i, 4:]
        mean = min(max(rest.mean().item(), first.mean().item() - 0.05), first.mean().item() + 0.1)
        std = min(max(rest.std().item(), first.std().item() - 0.1), first.std().item() + 0.25)
        assert_close(final[i, :4], (first - first.mean()) / first.std() * std + mean)
    assert (final[:, 0] - condition["latents"][:, 0]).abs().max() > 0.01  # so not even the photo's own frame stays as it was


def test_of_shorter_clips_the_pipeline_makes_no_picture(family: Family, pipeline: DiffusionPipeline, photos: Tensor) -> None:
    assert family.call(pipeline, photos[0], 3, num_frames=13).isnan().any()
    assert not family.call(pipeline, photos[0], 3, num_frames=FRAMES).isnan().any()


def test_sparse_attention_is_refused(family: Family, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"attention_type is nabla, .*supported Kandinsky 5: regular"):
        family.surrogate(tiny_kandinsky5(tmp_path, attention_type="nabla"))


def test_a_tap_that_reads_no_photo_is_refused(surrogate: Surrogate) -> None:
    with pytest.raises(UsageError, match=r"tap 'text_transformer_blocks\.0' reads no photo"):
        surrogate.with_taps(["text_transformer_blocks.0"])
