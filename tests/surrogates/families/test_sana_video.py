"""What is peculiar to SANA-Video; the rest is in `test_families`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline, FlowMatchEulerDiscreteScheduler

from anti_i2v.errors import UsageError
from anti_i2v.surrogates import Surrogate
from tests.surrogates.family import FAMILIES, PROMPT, STEPS, Family, TinyModels
from tests.surrogates.oracle import assert_close
from tests.tiny.parts import edit_json
from tests.tiny.sana_video import HEIGHT, SHIFT, WIDTH, tiny_sana_720p


@pytest.fixture(scope="module")
def family() -> Family:
    return FAMILIES["sana-video"]


def test_the_schedule_of_720p_is_the_shifted_flows(tiny: TinyModels) -> None:
    last = SHIFT * 0.001 / (1 + (SHIFT - 1) * 0.001)  # the scheduler shifts when it is built, and again at every call
    levels = torch.linspace(1, last, STEPS)
    assert tiny.surrogate("sana-video-720p").sigmas == pytest.approx((SHIFT * levels / (1 + (SHIFT - 1) * levels)).tolist(), abs=1e-6)


def test_steps_that_add_noise_draw_it_from_the_calls_generator(tmp_path: Path) -> None:
    family = FAMILIES["sana-video-720p"]
    folder, photos = tiny_sana_720p(tmp_path), family.photos()
    FlowMatchEulerDiscreteScheduler(shift=SHIFT, stochastic_sampling=True).save_pretrained(folder / "scheduler")
    surrogate = family.surrogate(folder)
    clips = surrogate.animate(photos, surrogate.encode_text([PROMPT]), seed=11)
    assert_close(clips[:1], family.call(surrogate.pipeline, photos[0], 11))


def test_the_prompt_follows_an_instruction_of_which_the_denoiser_gets_only_the_start(surrogate: Surrogate) -> None:
    text = surrogate.encode_text([PROMPT])
    assert text["encoder_hidden_states"].shape == (1, 300, 16)
    # the start, the prompt and the tokens after it that are padding; one of the instruction's own, its last space, stays
    assert 1 + len(PROMPT) <= int(text["encoder_attention_mask"].sum()) <= 3 + len(PROMPT)
    with torch.no_grad():
        bare = surrogate.pipeline.encode_prompt([PROMPT], do_classifier_free_guidance=False)[0]
    assert (bare - text["encoder_hidden_states"]).abs().max() > 1e-3


def test_sizes_of_the_training_bins_need_no_option(pipeline: DiffusionPipeline) -> None:
    # 480 × 832 is one of them: the call with and without binning is the same, and the surrogate takes no other size for it
    processor = pipeline.video_processor
    from diffusers.pipelines.sana_video.pipeline_sana_video import ASPECT_RATIO_480_BIN

    assert processor.classify_height_width_bin(480, 832, ratios=ASPECT_RATIO_480_BIN) == (480, 832)
    assert processor.classify_height_width_bin(HEIGHT, WIDTH, ratios=ASPECT_RATIO_480_BIN) != (HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("part", "class_name", "message"),
    [
        ("vae", "AutoencoderDC", "is a AutoencoderDC; supported SANA-Video: AutoencoderKLWan or AutoencoderKLLTX2Video"),
        ("transformer", "SanaVideoCausalTransformer3DModel", "is a SanaVideoCausal.*supported SANA-Video: SanaVideoTransformer3DModel"),
    ],
)
def test_variants_the_pipeline_cannot_run_are_refused(
    family: Family, folder: Path, tmp_path: Path, part: str, class_name: str, message: str
) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    edit_json(copy / "model_index.json", **{part: ["diffusers", class_name]})
    with pytest.raises(UsageError, match=message):
        family.surrogate(copy)
