"""What is peculiar to Cosmos-Predict2; the rest is in `test_families`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.surrogates import Draw, Surrogate
from anti_i2v.surrogates.loading import PassThrough
from anti_i2v.surrogates.memory.estimate import estimate_memory
from tests.surrogates.family import PROMPT, STEPS, Family, mode_instead_of_sample
from tests.surrogates.oracle import record
from tests.tiny.cosmos2 import FRAMES, TAPS, nothing_checked, tiny_cosmos2

FAMILY = Family("cosmos-2", tiny_cosmos2, TAPS, FRAMES, options={"guidance_scale": 1.0}, samples=True, apart=nothing_checked)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_cosmos2(tmp_path_factory.mktemp("cosmos-2"))


@pytest.fixture(scope="module")
def surrogate(folder: Path) -> Surrogate:
    return FAMILY.surrogate(folder)


@pytest.fixture(scope="module")
def photos() -> Tensor:
    return FAMILY.photos()


def build(folder: Path, height: int = FAMILY.height, num_frames: int = FRAMES, steps: int = STEPS) -> Surrogate:
    return Surrogate.from_pretrained(str(folder), list(TAPS), height, FAMILY.width, num_frames, steps)


def at(surrogate: Surrogate, step: int) -> Draw:
    noise = surrogate.draw(2, torch.Generator().manual_seed(7)).noise
    return Draw(step, surrogate.timesteps[step], surrogate.sigmas[step], noise)


def karras(steps: int) -> list[float]:
    """Standard deviations of the noise, from 80 to 0.002: Karras et al., equation 5, with rho 7."""
    high, low = 80 ** (1 / 7), 0.002 ** (1 / 7)
    return [(high + i / (steps - 1) * (low - high)) ** 7 for i in range(steps)]


def test_a_noise_share_is_the_time_of_the_flow_that_the_schedule_amounts_to(surrogate: Surrogate) -> None:
    assert surrogate.sigmas == pytest.approx([s / (1 + s) for s in karras(STEPS)], rel=1e-4)
    assert surrogate.timesteps.tolist() == pytest.approx([1000 * s for s in karras(STEPS)], rel=1e-4)


@pytest.mark.parametrize("step", range(STEPS))
def test_the_clip_has_one_time_the_photo_another_and_a_mask_tells_them_apart(surrogate: Surrogate, photos: Tensor, step: int) -> None:
    given = record(surrogate.denoiser, lambda: surrogate(photos, surrogate.encode_text([PROMPT]), at(surrogate, step)))
    sigma = karras(STEPS)[step]
    time = sigma / (1 + sigma)
    assert given["timestep"].shape == (2, 1, 3, 1, 1)
    assert given["timestep"][1].flatten().tolist() == pytest.approx([1e-4 / (1 + 1e-4), time, time], rel=1e-4)
    assert given["condition_mask"].shape == (2, 1, 3, 4, 6)
    assert given["condition_mask"].mean((0, 1, 3, 4)).tolist() == [1, 0, 0]
    assert given["fps"] == 16
    assert (given["padding_mask"] == torch.zeros(1, 1, 32, 48)).all()


def test_the_photo_alone_is_the_first_latent_frame_of_the_clip_that_the_pipeline_encodes(surrogate: Surrogate, photos: Tensor) -> None:
    vae = surrogate.pipeline.vae
    mean, std = (torch.tensor(values).view(1, -1, 1, 1, 1) for values in (vae.config.latents_mean, vae.config.latents_std))
    with torch.no_grad():
        clip = (2 * photos - 1).unsqueeze(2).repeat(1, 1, FRAMES, 1, 1)
        whole = (vae.encode(clip).latent_dist.mode() - mean) / std
    assert whole.shape[2] == 3
    torch.testing.assert_close(surrogate.condition(photos)["latents"], whole[:, :, :1], atol=1e-5, rtol=0)


def test_a_still_clip_is_noised_as_edm_does(surrogate: Surrogate, photos: Tensor) -> None:
    known = surrogate.condition(photos.clone().requires_grad_())
    for step in range(1, STEPS):
        draw, sigma = at(surrogate, step), karras(STEPS)[step]
        noisy = surrogate.noisy(known, draw)
        expected = (known["latents"].detach() + sigma * draw.noise) / (1 + sigma)
        torch.testing.assert_close(noisy, expected, atol=1e-5, rtol=0)
        assert not noisy.requires_grad
    first = at(surrogate, 0)
    torch.testing.assert_close(surrogate.noisy(known, first), 80 * first.noise / 81, atol=1e-6, rtol=0)


def test_latents_are_the_pipelines_to_the_last_digit_and_clips_to_the_last_bit_that_the_checker_leaves(
    surrogate: Surrogate, folder: Path, photos: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = FAMILY.load(folder)
    picture = Image.fromarray((photos[0] * 255).round().byte().permute(1, 2, 0).numpy())
    given = {"height": 32, "width": 48, "num_frames": FRAMES, "num_inference_steps": STEPS, "guidance_scale": 1.0, "output_type": "latent"}
    with mode_instead_of_sample():
        theirs = pipeline(image=picture, prompt=PROMPT, generator=torch.Generator().manual_seed(11), **given).frames
    clips = surrogate.animate(photos[:1], surrogate.encode_text([PROMPT]), seed=11)
    with torch.no_grad():
        torch.testing.assert_close(clips, surrogate.decode(theirs), atol=1e-5, rtol=0)
    cut = (clips * 255).floor() / 255  # the pipeline hands its checker bytes, cut off rather than rounded
    same = ((cut - FAMILY.call(pipeline, photos[0], 11)).abs() < 1e-5).float().mean()
    assert same > 0.999


def test_decode_undoes_the_normalisation(surrogate: Surrogate) -> None:
    latents = torch.randn(surrogate.latent_shape(2), generator=torch.Generator().manual_seed(0))
    vae = surrogate.pipeline.vae
    mean, std = (torch.tensor(values).view(1, -1, 1, 1, 1) for values in (vae.config.latents_mean, vae.config.latents_std))
    with torch.no_grad():
        expected = ((vae.decode(latents * std + mean).sample + 1) / 2).clamp(0, 1).transpose(1, 2)
        torch.testing.assert_close(surrogate.decode(latents), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("entry", [[None, None], ["cosmos_guardrail", "CosmosSafetyChecker"], "left out"])
def test_no_safety_checker_is_loaded_whatever_the_index_names(tmp_path: Path, entry: object) -> None:
    folder = tiny_cosmos2(tmp_path)
    file = folder / "model_index.json"
    index = json.loads(file.read_text())
    del index["safety_checker"]
    file.write_text(json.dumps(index | ({} if entry == "left out" else {"safety_checker": entry})))
    assert isinstance(build(folder).pipeline.safety_checker, PassThrough)
    assert estimate_memory(str(folder), TAPS, 32, 48, FRAMES).weights.keys() == {"transformer", "vae"}
    assert "cosmos_guardrail" not in sys.modules


def test_what_stands_in_for_the_safety_checker_passes_everything_through() -> None:
    checker, clip = PassThrough(), object()
    assert checker.to("cpu") is checker
    assert checker.check_text_safety("anything")
    assert checker.check_video_safety(clip) is clip


@pytest.mark.parametrize(
    ("height", "num_frames", "message"),
    [
        (24, FRAMES, "height × width is 24 × 48; this Cosmos-Predict2 needs multiples of 16 × 16"),
        (32, 8, "num_frames is 8; this Cosmos-Predict2 needs 1 \\+ a multiple of 4"),
        (32, 1, "num_frames is 1, which is the photo itself; this Cosmos-Predict2 needs 5, 9, …"),
    ],
)
def test_sizes_the_pipeline_refuses_or_rounds_are_refused(folder: Path, height: int, num_frames: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(folder, height, num_frames)


def test_a_single_step_would_return_noise(surrogate: Surrogate, folder: Path, photos: Tensor) -> None:
    with pytest.raises(UsageError, match="steps is 1; the last step of Cosmos-Predict2's schedule changes nothing"):
        build(folder, steps=1)
    with pytest.raises(UsageError, match="steps is 1"):
        surrogate.animate(photos, surrogate.encode_text([PROMPT]), seed=0, steps=1)


def test_a_schedule_with_which_the_pipeline_itself_fails_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="use_karras_sigmas is false, with which Cosmos2VideoToWorldPipeline itself fails; set it to true"):
        build(tiny_cosmos2(tmp_path, karras=False))


def test_a_denoiser_without_a_mask_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"reads 3 channels and a mask, the autoencoder makes 4; .*Cosmos-Predict2-2B-Video2World"):
        build(tiny_cosmos2(tmp_path, in_channels=4))
