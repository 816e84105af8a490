"""What is peculiar to CogVideoX; the rest is in `test_families`."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.surrogates import Draw, Surrogate
from tests.surrogates.family import PROMPT, STEPS, Family, mode_instead_of_sample
from tests.surrogates.oracle import record
from tests.tiny.cogvideox import FRAMES, HEIGHT, SCALE, WIDTH, WORDS, tiny_cogvideox, tiny_cogvideox_15

TAPS = ("transformer_blocks.0", "transformer_blocks.1")
OPTIONS = {"guidance_scale": 1.0, "max_sequence_length": WORDS}
WRITERS = {"1.0": tiny_cogvideox, "1.5": tiny_cogvideox_15}
SCHEDULERS = ("CogVideoXDPMScheduler", "CogVideoXDDIMScheduler")


def find_family(version: str) -> Family:
    return Family(version, WRITERS[version], TAPS, FRAMES, HEIGHT, WIDTH, options=OPTIONS, samples=True)


@pytest.fixture(scope="module", params=WRITERS)
def family(request: pytest.FixtureRequest) -> Family:
    return find_family(request.param)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {version: write(tmp_path_factory.mktemp(version)) for version, write in WRITERS.items()}


@pytest.fixture(scope="module")
def surrogate(family: Family, folders: dict[str, Path]) -> Surrogate:
    return family.surrogate(folders[family.name])


@pytest.fixture(scope="module")
def photos(family: Family) -> Tensor:
    return family.photos()


def still_clip(surrogate: Surrogate, photos: Tensor) -> Tensor:
    """Every latent frame the photo's, multiplied by the factor of clips, `(B, frames, channels, h, w)`."""
    latents = surrogate.vae.encode(photos.unsqueeze(2) * 2 - 1).latent_dist.mode()
    return latents.transpose(1, 2).expand(surrogate.latent_shape(len(photos))) * SCALE


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_every_step_of_both_schedulers_equals_the_pipeline(family: Family, tmp_path: Path, scheduler: str) -> None:
    folder = family.write(tmp_path) if scheduler == SCHEDULERS[0] else tiny_cogvideox(tmp_path, family.name == "1.5", scheduler)
    surrogate, pipeline, photo = family.surrogate(folder), family.load(folder), family.photos()[:1]
    assert type(pipeline.scheduler).__name__ == scheduler
    text = surrogate.encode_text([PROMPT])
    theirs = record(pipeline.transformer, lambda: family.call(pipeline, photo[0], 3), skip=STEPS - 1)
    mine = record(surrogate.denoiser, lambda: surrogate.animate(photo, text, 3), skip=STEPS - 1)
    torch.testing.assert_close(mine["hidden_states"], theirs["hidden_states"], atol=1e-5, rtol=0)
    torch.testing.assert_close(surrogate.animate(photo, text, 3), family.call(pipeline, photo[0], 3), atol=1e-5, rtol=0)


def test_the_noise_of_the_steps_depends_on_seed_and_position_only(surrogate: Surrogate, photos: Tensor) -> None:
    text = surrogate.encode_text([PROMPT])
    same = photos[:1].expand(3, -1, -1, -1)
    clips = surrogate.animate(same, text, seed=4)
    torch.testing.assert_close(clips[:2], surrogate.animate(same[:2], text, seed=4), atol=1e-5, rtol=0)
    assert all(not torch.allclose(clips[i], clips[j], atol=1e-2) for i, j in ((0, 1), (0, 2), (1, 2)))
    assert not torch.allclose(clips[:1], surrogate.animate(same[:1], text, seed=5), atol=1e-2)


def test_noise_levels_are_mixed_as_the_scheduler_does(surrogate: Surrogate, photos: Tensor) -> None:
    scheduler = copy.deepcopy(surrogate.pipeline.scheduler)
    scheduler.set_timesteps(STEPS)
    drawn = surrogate.draw(2, torch.Generator().manual_seed(7))
    condition, still = surrogate.condition(photos), still_clip(surrogate, photos)
    first = Draw(0, surrogate.timesteps[0], surrogate.sigmas[0], drawn.noise)
    assert torch.equal(surrogate.noisy(condition, first), drawn.noise)
    for step in range(1, STEPS):
        later = Draw(step, surrogate.timesteps[step], surrogate.sigmas[step], drawn.noise)
        theirs = scheduler.add_noise(still, drawn.noise, scheduler.timesteps[step].expand(2))
        torch.testing.assert_close(surrogate.noisy(condition, later), theirs, atol=1e-5, rtol=0)


def test_sigma_is_the_share_of_the_same_signal_to_noise_ratio(surrogate: Surrogate) -> None:
    # scaled-linear betas from 0.00085 to 0.012, √ᾱ shifted and stretched to end at 0 (arXiv 2305.08891, algorithm 1)
    roots, product = [], 1.0
    for i in range(1000):
        product *= 1 - (math.sqrt(0.00085) + i / 999 * (math.sqrt(0.012) - math.sqrt(0.00085))) ** 2
        roots.append(math.sqrt(product))
    kept = [((root - roots[-1]) * roots[0] / (roots[0] - roots[-1])) ** 2 for root in roots]
    expected = [1.0]  # no signal at all
    for timestep in (749, 499, 249):  # trailing
        deviation = math.sqrt((1 - kept[timestep]) / kept[timestep])
        expected.append(deviation / (1 + deviation))
    assert surrogate.timesteps.tolist() == [999, 749, 499, 249]
    assert surrogate.sigmas == pytest.approx(expected, abs=1e-6)


def test_the_photo_is_scaled_down_by_what_clips_are_scaled_up_with_in_the_newer_version(
    family: Family, surrogate: Surrogate, photos: Tensor
) -> None:
    text, drawn = surrogate.encode_text([PROMPT]), surrogate.draw(2, torch.Generator().manual_seed(7))
    arguments = surrogate.inputs(surrogate.condition(photos), {**text}, drawn.noise, drawn.timestep)
    hidden = arguments["hidden_states"]
    assert isinstance(hidden, Tensor)
    noisy, photo = hidden.chunk(2, dim=2)
    assert torch.equal(noisy, drawn.noise)
    raw = still_clip(surrogate, photos)[:, 0] / SCALE
    torch.testing.assert_close(photo[:, 0], raw * SCALE if family.name == "1.0" else raw / SCALE, atol=1e-5, rtol=0)
    assert (photo[:, 1:] == 0).all()


def test_the_newer_version_has_an_offset_and_a_latent_frame_more_that_is_dropped_in_front(folders: dict[str, Path]) -> None:
    older, newer = (find_family(version).surrogate(folders[version]) for version in WRITERS)
    assert older.latent_shape(2) == (2, 3, 4, 4, 6)
    assert newer.latent_shape(2) == (2, 4, 4, 4, 6)
    latents = torch.randn(1, 4, 4, 4, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(newer.final({}, latents), latents[:, 1:])
    assert torch.equal(older.final({}, latents), latents)
    text = {"prompt_embeds": torch.zeros(1, WORDS, 16)}
    ofs = [s.inputs({"latents": latents[:, :1]}, text, latents, torch.tensor(999))["ofs"] for s in (older, newer)]
    assert ofs == [None, torch.tensor([2.0])]


def test_decoded_is_the_photo_alone_through_the_autoencoder(surrogate: Surrogate, photos: Tensor) -> None:
    drawn = surrogate.draw(2, torch.Generator().manual_seed(7))
    with torch.no_grad():
        decoded = surrogate.with_taps(["decoded"])(photos, surrogate.encode_text([PROMPT]), drawn)["decoded"]
        latents = surrogate.vae.encode(photos.unsqueeze(2) * 2 - 1).latent_dist.mode()
        expected = (surrogate.vae.decode(latents).sample[:, :, 0] / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(decoded, expected, atol=1e-5, rtol=0)


def test_decode_undoes_the_scaling_of_clips(surrogate: Surrogate, photos: Tensor) -> None:
    clip = photos[:1].unsqueeze(2).expand(-1, -1, FRAMES, -1, -1) * 2 - 1
    with torch.no_grad():
        latents = surrogate.vae.encode(clip).latent_dist.mode()
        expected = surrogate.pipeline.video_processor.postprocess_video(surrogate.vae.decode(latents).sample, output_type="pt")
        mine = surrogate.decode(latents.transpose(1, 2) * SCALE)
    torch.testing.assert_close(mine, expected, atol=1e-5, rtol=0)


def test_the_pipeline_samples_the_photos_latent_and_the_surrogate_does_not(
    family: Family, folders: dict[str, Path], surrogate: Surrogate, photos: Tensor
) -> None:
    pipeline = family.load(folders[family.name])
    plain = dataclasses.replace(family, samples=False)
    channels = surrogate.latent_shape(1)[2]

    def shown(by: Family, seed: int) -> Tensor:
        hidden: Tensor = record(pipeline.transformer, lambda: by.call(pipeline, photos[0], seed))["hidden_states"]
        return hidden[:, 0, channels:]

    assert not torch.equal(shown(plain, 1), shown(plain, 2))
    with mode_instead_of_sample():
        assert torch.equal(shown(family, 1), shown(family, 2))


@pytest.mark.parametrize("tap", ["patch_embed.proj", "patch_embed", "transformer_blocks.1.attn1", "transformer_blocks.1.norm1.norm"])
def test_features_come_photo_by_photo(surrogate: Surrogate, photos: Tensor, tap: str) -> None:
    text, drawn = surrogate.encode_text([PROMPT]), surrogate.draw(2, torch.Generator().manual_seed(7))
    other = surrogate.with_taps([tap])
    with torch.no_grad():
        together = other(photos, text, drawn)[tap]
        second = other(photos[1:], text, dataclasses.replace(drawn, noise=drawn.noise[1:]))[tap]
    assert together.ndim == 3
    assert together.shape[0] == 2
    assert together.shape[2] == 32
    torch.testing.assert_close(together[1:], second, atol=1e-4, rtol=1e-4)


# ---------------------------------------------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    ("version", "size", "message"),
    [
        ("1.0", (48, 48, 9), r"height × width is 48 × 48; this CogVideoX has learned positions for 32 × 48 only; .* CogVideoX 1\.5"),
        ("1.0", (32, 48, 17), r"num_frames is 17; this CogVideoX has learned positions for 9 frames only, .* take 9, or CogVideoX 1\.5"),
        ("1.5", (40, 48, 9), "height × width is 40 × 48; this CogVideoX needs multiples of 16 × 16"),
        ("1.5", (32, 0, 9), "height × width is 32 × 0; this CogVideoX needs multiples of 16 × 16"),
        ("1.5", (336, 320, 9), "height × width is 336 × 320; this CogVideoX has positions up to 320 × 320; take a smaller size"),
        ("1.5", (32, 48, 10), "num_frames is 10; this CogVideoX needs 1 \\+ a multiple of 8: 17, …"),
        ("1.5", (32, 48, 13), "num_frames is 13; this CogVideoX needs 1 \\+ a multiple of 8: 17, …"),
        ("1.5", (32, 48, 0), "num_frames is 0"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(folders: dict[str, Path], version: str, size: tuple[int, int, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Surrogate.from_pretrained(str(folders[version]), list(TAPS), *size)


def test_other_lengths_are_taken_by_the_newer_version_and_a_single_frame_too(folders: dict[str, Path]) -> None:
    for frames, latent in ((1, 2), (17, 6)):
        family = dataclasses.replace(find_family("1.5"), num_frames=frames, height=48, width=32)
        surrogate, photo = family.surrogate(folders["1.5"]), family.photos()[:1]
        assert surrogate.latent_shape(1)[1] == latent
        mine = surrogate.animate(photo, surrogate.encode_text([PROMPT]), 3)
        torch.testing.assert_close(mine, family.call(family.load(folders["1.5"]), photo[0], 3), atol=1e-5, rtol=0)


def test_the_pipeline_itself_answers_a_refused_length_with_another(folders: dict[str, Path]) -> None:
    family = dataclasses.replace(find_family("1.5"), num_frames=13)
    assert family.call(family.load(folders["1.5"]), family.photos()[0], 3).shape[1] == 16


def test_another_scheduler_is_refused_before_the_weights_are_loaded(folders: dict[str, Path], tmp_path: Path) -> None:
    index = json.loads((folders["1.0"] / "model_index.json").read_text(encoding="utf-8"))
    index["scheduler"] = ["diffusers", "DDIMScheduler"]
    (tmp_path / "model_index.json").write_text(json.dumps(index), encoding="utf-8")  # and nothing else
    with pytest.raises(
        UsageError, match=r"is a CogVideoX with a DDIMScheduler, .* supported: CogVideoXDDIMScheduler, CogVideoXDPMScheduler"
    ):
        Surrogate.from_pretrained(str(tmp_path), list(TAPS))
