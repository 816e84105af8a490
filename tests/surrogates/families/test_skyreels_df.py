"""What is peculiar to SkyReels-V2 diffusion forcing; the rest is in `test_families`."""

from __future__ import annotations

from pathlib import Path

import pytest
from diffusers import DiffusionPipeline
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.surrogates import Surrogate
from anti_i2v.surrogates.families.skyreels_df import SkyReelsV2DFSurrogate
from anti_i2v.surrogates.pipeline import PipelineSurrogate
from tests.surrogates.family import FAMILIES, PROMPT, Family, draw_at
from tests.surrogates.oracle import assert_close, record
from tests.tiny.skyreels_df import tiny_skyreels_df


@pytest.fixture(scope="module")
def family() -> Family:
    return FAMILIES["skyreels-v2-df"]


def test_a_long_clip_is_one_window(family: Family, folder: Path, pipeline: DiffusionPipeline, photos: Tensor) -> None:
    # 97 frames is where the call begins to ask for overlapping windows, unless base_num_frames is raised
    surrogate = family.surrogate(folder, num_frames=101)
    theirs = record(pipeline.transformer, lambda: family.call(pipeline, photos[0], 3, num_frames=101, base_num_frames=101))
    text = surrogate.encode_text([PROMPT])
    mine = record(surrogate.denoiser, lambda: surrogate.animate(photos[:1], text, 3))
    assert mine["hidden_states"].shape == (1, 4, 26, 4, 6)
    assert_close(mine["hidden_states"], theirs["hidden_states"])


def test_the_corrector_starts_from_what_the_first_step_was_overwritten_with(
    family: Family, surrogate: Surrogate, pipeline: DiffusionPipeline, photos: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = family.call(pipeline, photos[0], 11)
    text = surrogate.encode_text([PROMPT])
    assert_close(surrogate.animate(photos[:1], text, 11), theirs)
    monkeypatch.setattr(SkyReelsV2DFSurrogate, "denoise", PipelineSurrogate.denoise)  # whose scheduler keeps what it was given
    assert (surrogate.animate(photos[:1], text, 11) - theirs).abs().max() > 1e-3


def test_the_padding_of_a_prompt_counts_up_to_512_tokens(surrogate: Surrogate) -> None:
    assert surrogate.pipeline.tokenizer.model_max_length == 32
    embeds = surrogate.encode_text([PROMPT])["prompt_embeds"]
    assert embeds.shape == (1, 512, 16)
    words = len(PROMPT) + 2  # a word mark and an end
    assert (embeds[0, words:] == 0).all()
    assert (embeds[0, words - 1] != 0).any()


@pytest.mark.parametrize(("rate", "entry"), [(16, 0), (24, 1)])
def test_the_denoiser_is_given_whether_the_clip_is_slow(
    family: Family, folder: Path, photos: Tensor, rate: int, entry: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    surrogate = family.surrogate(folder)
    monkeypatch.setattr(surrogate, "frame_rate", rate)
    theirs = family.call(surrogate.pipeline, photos[0], 11, fps=rate)
    text = surrogate.encode_text([PROMPT])
    assert record(surrogate.denoiser, lambda: surrogate(photos, text, draw_at(surrogate, 0)))["fps"] == [entry]
    assert_close(surrogate.animate(photos[:1], text, 11), theirs)


def test_blocks_of_several_frames_are_refused(family: Family, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"num_frame_per_block is 3: .*supported: 1"):
        family.surrogate(tiny_skyreels_df(tmp_path, num_frame_per_block=3))


def test_a_denoiser_that_reads_the_photo_beside_the_noise_is_refused(family: Family, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"reads 12 channels, not 4 .*SkyReels-V2-DF-1.3B-540P-Diffusers"):
        family.surrogate(tiny_skyreels_df(tmp_path, in_channels=12))
