"""What is peculiar to CogVideoX; the rest is in `test_families`."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.surrogates import Surrogate
from tests.surrogates.family import FAMILIES, PROMPT, STEPS, Family, TinyModels, draw_at
from tests.surrogates.oracle import assert_close, record, record_calls
from tests.tiny.cogvideox import tiny_cogvideox


@pytest.fixture(scope="module", params=["cogvideox-1.0", "cogvideox-1.5"])
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


@pytest.mark.parametrize("newer", [False, True])
def test_every_step_of_the_other_scheduler_equals_the_pipeline_too(newer: bool, tmp_path: Path) -> None:
    family = FAMILIES["cogvideox-1.5" if newer else "cogvideox-1.0"]  # whose scheduler is a CogVideoXDPMScheduler
    folder = tiny_cogvideox(tmp_path, newer, "CogVideoXDDIMScheduler")
    surrogate, pipeline, photo = family.surrogate(folder), family.load(folder), family.photos()[:1]
    text = surrogate.encode_text([PROMPT])
    mine = record_calls(surrogate.denoiser, lambda: surrogate.animate(photo, text, 3))
    theirs = record_calls(pipeline.transformer, lambda: family.call(pipeline, photo[0], 3))
    for step in range(STEPS):
        assert_close(mine[step]["hidden_states"], theirs[step]["hidden_states"])


def test_the_noise_of_the_steps_depends_on_seed_and_position_only(surrogate: Surrogate, photos: Tensor) -> None:
    text = surrogate.encode_text([PROMPT])
    same = photos[:1].expand(3, -1, -1, -1)
    clips = surrogate.animate(same, text, seed=4)
    assert_close(clips[:2], surrogate.animate(same[:2], text, seed=4))
    assert all(not torch.allclose(clips[i], clips[j], atol=1e-2) for i, j in ((0, 1), (0, 2), (1, 2)))
    assert not torch.allclose(clips[:1], surrogate.animate(same[:1], text, seed=5), atol=1e-2)


def test_sigma_is_the_share_of_the_same_signal_to_noise_ratio(surrogate: Surrogate) -> None:
    # scaled-linear betas from 0.00085 to 0.012, √ᾱ shifted and stretched to end at 0 (arXiv 2305.08891, algorithm 1)
    roots, product = [], 1.0
    for i in range(1000):
        product *= 1 - (math.sqrt(0.00085) + i / 999 * (math.sqrt(0.012) - math.sqrt(0.00085))) ** 2
        roots.append(math.sqrt(product))
    alphas = [((root - roots[-1]) * roots[0] / (roots[0] - roots[-1])) ** 2 for root in roots]
    expected = [1.0]  # no signal at all
    for timestep in (749, 499, 249):  # trailing
        deviation = math.sqrt((1 - alphas[timestep]) / alphas[timestep])
        expected.append(deviation / (1 + deviation))
    assert surrogate.timesteps.tolist() == [999, 749, 499, 249]
    assert surrogate.sigmas == pytest.approx(expected, abs=1e-6)


def test_the_pipeline_samples_the_photos_latent_and_the_surrogate_does_not(
    family: Family, surrogate: Surrogate, pipeline: DiffusionPipeline, photos: Tensor
) -> None:
    plain = dataclasses.replace(family, samples=False)
    channels = surrogate.latent_shape(1)[2]

    def photo_latents(by: Family, seed: int) -> Tensor:
        hidden: Tensor = record(pipeline.transformer, lambda: by.call(pipeline, photos[0], seed))["hidden_states"]
        return hidden[:, 0, channels:]

    assert not torch.equal(photo_latents(plain, 1), photo_latents(plain, 2))
    assert torch.equal(photo_latents(family, 1), photo_latents(family, 2))


@pytest.mark.parametrize("tap", ["patch_embed.proj", "patch_embed", "transformer_blocks.1.attn1", "transformer_blocks.1.norm1.norm"])
def test_features_come_photo_by_photo(surrogate: Surrogate, photos: Tensor, tap: str) -> None:
    text, draw = surrogate.encode_text([PROMPT]), draw_at(surrogate, 3)
    other = surrogate.with_taps([tap])
    with torch.no_grad():
        together = other(photos, text, draw)[tap]
        second = other(photos[1:], text, dataclasses.replace(draw, noise=draw.noise[1:]))[tap]
    assert together.ndim == 3
    assert together.shape[0] == 2
    assert together.shape[2] == 32
    assert_close(together[1:], second)


@pytest.mark.parametrize(("num_frames", "latent_frames"), [(1, 2), (17, 6)])
def test_the_newer_version_takes_other_lengths_also_a_single_frame(tiny: TinyModels, num_frames: int, latent_frames: int) -> None:
    family = dataclasses.replace(FAMILIES["cogvideox-1.5"], num_frames=num_frames, height=48, width=32)
    surrogate, photo = family.surrogate(tiny.folder("cogvideox-1.5")), family.photos()[:1]
    assert surrogate.latent_shape(1)[1] == latent_frames
    clip = surrogate.animate(photo, surrogate.encode_text([PROMPT]), 3)
    assert_close(clip, family.call(tiny.pipeline("cogvideox-1.5"), photo[0], 3))


def test_the_pipeline_itself_makes_a_clip_of_another_length_of_a_refused_one(tiny: TinyModels) -> None:
    family = dataclasses.replace(FAMILIES["cogvideox-1.5"], num_frames=13)
    assert family.call(tiny.pipeline("cogvideox-1.5"), family.photos()[0], 3).shape[1] == 16


def test_another_scheduler_is_refused_before_the_weights_are_loaded(tiny: TinyModels, tmp_path: Path) -> None:
    index = json.loads((tiny.folder("cogvideox-1.0") / "model_index.json").read_text(encoding="utf-8"))
    index["scheduler"] = ["diffusers", "DDIMScheduler"]
    (tmp_path / "model_index.json").write_text(json.dumps(index), encoding="utf-8")  # and nothing else
    with pytest.raises(
        UsageError, match=r"is a CogVideoX with a DDIMScheduler, .* supported: CogVideoXDDIMScheduler, CogVideoXDPMScheduler"
    ):
        Surrogate.from_pretrained(str(tmp_path), list(FAMILIES["cogvideox-1.0"].taps))
