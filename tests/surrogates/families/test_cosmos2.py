"""What is peculiar to Cosmos-Predict2; the rest is in `test_families`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.surrogates import Surrogate
from anti_i2v.surrogates.loading import PassThrough
from anti_i2v.surrogates.memory.estimate import estimate_memory
from tests.surrogates.family import FAMILIES, PROMPT, STEPS, Family, draw_at
from tests.surrogates.oracle import assert_close
from tests.tiny.cosmos2 import tiny_cosmos2
from tests.tiny.parts import edit_json


@pytest.fixture(scope="module")
def family() -> Family:
    return FAMILIES["cosmos-2"]


def karras(steps: int) -> list[float]:
    """Standard deviations of the noise, from 80 to 0.002: Karras et al., equation 5, with rho 7."""
    high, low = 80 ** (1 / 7), 0.002 ** (1 / 7)
    return [(high + i / (steps - 1) * (low - high)) ** 7 for i in range(steps)]


def test_a_noise_share_is_the_time_of_the_flow_that_the_schedule_amounts_to(surrogate: Surrogate) -> None:
    assert surrogate.sigmas == pytest.approx([s / (1 + s) for s in karras(STEPS)], rel=1e-4)
    assert surrogate.timesteps.tolist() == pytest.approx([1000 * s for s in karras(STEPS)], rel=1e-4)


def test_the_photo_alone_is_the_first_latent_frame_of_the_clip_that_the_pipeline_encodes(surrogate: Surrogate, photos: Tensor) -> None:
    vae = surrogate.pipeline.vae
    mean, std = (torch.tensor(values).view(1, -1, 1, 1, 1) for values in (vae.config.latents_mean, vae.config.latents_std))
    with torch.no_grad():
        clip = (2 * photos - 1).unsqueeze(2).repeat(1, 1, surrogate.num_frames, 1, 1)
        whole = (vae.encode(clip).latent_dist.mode() - mean) / std
    assert whole.shape[2] == 3
    assert_close(surrogate.condition(photos)["latents"], whole[:, :, :1])


def test_a_still_clip_is_noised_as_edm_does(surrogate: Surrogate, photos: Tensor) -> None:
    condition = surrogate.condition(photos.clone().requires_grad_())
    for step in range(1, STEPS):
        draw, sigma = draw_at(surrogate, step), karras(STEPS)[step]
        noisy = surrogate.noisy_latents(condition, draw)
        expected = (condition["latents"].detach() + sigma * draw.noise) / (1 + sigma)
        assert_close(noisy, expected)
        assert not noisy.requires_grad
    first = draw_at(surrogate, 0)
    assert_close(surrogate.noisy_latents(condition, first), 80 * first.noise / 81)


def test_latents_are_the_pipelines_and_clips_differ_by_its_conversion_to_bytes_only(
    family: Family, surrogate: Surrogate, pipeline: DiffusionPipeline, photos: Tensor
) -> None:
    latents = family.call(pipeline, photos[0], 11, output_type="latent")
    clips = surrogate.animate(photos[:1], surrogate.encode_text([PROMPT]), seed=11)
    with torch.no_grad():
        assert_close(clips, surrogate.decode(latents))
    in_bytes = (clips * 255).floor() / 255  # the pipeline hands its checker bytes, cut off rather than rounded
    assert ((in_bytes - family.call(pipeline, photos[0], 11)).abs() < 1e-5).float().mean() > 0.999


@pytest.mark.parametrize("entry", [[None, None], ["cosmos_guardrail", "CosmosSafetyChecker"], None])
def test_no_safety_checker_is_loaded_whatever_the_index_names(family: Family, tmp_path: Path, entry: object) -> None:
    folder = tiny_cosmos2(tmp_path)
    edit_json(folder / "model_index.json", safety_checker=entry)
    assert isinstance(family.surrogate(folder).pipeline.safety_checker, PassThrough)
    assert estimate_memory(str(folder), family.taps, 32, 48, family.num_frames).weights.keys() == {"transformer", "vae"}
    assert "cosmos_guardrail" not in sys.modules


def test_the_replacement_of_the_safety_checker_accepts_everything() -> None:
    checker, clip = PassThrough(), object()
    assert checker.to("cpu") is checker
    assert checker.check_text_safety("anything")
    assert checker.check_video_safety(clip) is clip


def test_a_single_step_is_refused_because_it_returns_noise(family: Family, surrogate: Surrogate, folder: Path, photos: Tensor) -> None:
    with pytest.raises(UsageError, match="steps is 1; the last step of Cosmos-Predict2's schedule changes nothing"):
        family.surrogate(folder, steps=1)
    with pytest.raises(UsageError, match="steps is 1"):
        surrogate.animate(photos, surrogate.encode_text([PROMPT]), seed=0, steps=1)


def test_a_schedule_with_which_the_pipeline_itself_fails_is_refused(family: Family, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="use_karras_sigmas is false, with which Cosmos2VideoToWorldPipeline itself fails; set it to true"):
        family.surrogate(tiny_cosmos2(tmp_path, karras=False))


def test_a_denoiser_without_a_mask_is_refused(family: Family, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"reads 3 channels and a mask, the autoencoder makes 4; .*Cosmos-Predict2-2B-Video2World"):
        family.surrogate(tiny_cosmos2(tmp_path, in_channels=4))
