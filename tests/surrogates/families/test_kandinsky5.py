"""What is peculiar to Kandinsky 5: prompts of any length without a mask, and first frames that are fitted to later ones."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.surrogates import Draw, Surrogate
from tests.surrogates.family import mode_instead_of_sample
from tests.surrogates.oracle import record
from tests.tiny.kandinsky5 import FRAMES, HEIGHT, TAPS, WIDTH, tiny_kandinsky5

STEPS = 4
PROMPTS = ["a dog runs", "she waves at the camera"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_kandinsky5(tmp_path_factory.mktemp("kandinsky"))


@pytest.fixture(scope="module")
def surrogate(folder: Path) -> Surrogate:
    return load(folder)


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> DiffusionPipeline:
    made = DiffusionPipeline.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture
def photos() -> Tensor:
    """Two photos on the 8-bit grid."""
    return torch.randint(0, 256, (2, 3, HEIGHT, WIDTH), generator=torch.Generator().manual_seed(1)) / 255


def load(folder: Path, height: int = HEIGHT, width: int = WIDTH, frames: int = FRAMES, taps: tuple[str, ...] = TAPS) -> Surrogate:
    return Surrogate.from_pretrained(str(folder), taps, height, width, frames, STEPS)


def at_step(surrogate: Surrogate, step: int) -> Draw:
    drawn = surrogate.draw(2, torch.Generator().manual_seed(7))
    return Draw(step, surrogate.timesteps[step], surrogate.sigmas[step], drawn.noise)


def called(pipeline: DiffusionPipeline, photo: Tensor, prompt: str, frames: int = FRAMES) -> Tensor:
    picture = Image.fromarray((photo * 255).round().byte().permute(1, 2, 0).numpy())
    with mode_instead_of_sample():
        made: Tensor = pipeline(
            picture,
            prompt,
            height=HEIGHT,
            width=WIDTH,
            num_frames=frames,
            num_inference_steps=STEPS,
            guidance_scale=1.0,
            generator=torch.Generator().manual_seed(3),
            output_type="pt",
        ).frames
    return made


# ----------------------------------------------------------------------------------------------------------- prompts
def test_prompts_of_several_lengths_are_read_as_the_pipeline_reads_each_alone(surrogate: Surrogate, pipeline: DiffusionPipeline) -> None:
    text = surrogate.encode_text(PROMPTS)
    lengths = text["words"].sum(1).tolist()
    assert lengths[0] < lengths[1] == text["words"].shape[1]
    for i, prompt in enumerate(PROMPTS):
        states, pooled, _ = pipeline.encode_prompt(prompt)
        torch.testing.assert_close(text["encoder_hidden_states"][i : i + 1, : lengths[i]], states, atol=1e-5, rtol=0)
        torch.testing.assert_close(text["pooled_projections"][i : i + 1], pooled, atol=1e-5, rtol=0)
        assert not text["encoder_hidden_states"][i, lengths[i] :].any()


def test_photos_whose_prompts_differ_in_length_go_one_by_one_and_others_together(surrogate: Surrogate, photos: Tensor) -> None:
    draw = at_step(surrogate, 1)
    for prompts, rows in ((PROMPTS, 1), (PROMPTS[:1], 2), (PROMPTS[1:] * 2, 2)):
        given = record(surrogate.denoiser, lambda prompts=prompts: surrogate(photos, surrogate.encode_text(prompts), draw))  # type: ignore[misc]
        assert len(given["hidden_states"]) == len(given["timestep"]) == rows
        assert given["encoder_hidden_states"].shape[1] == len(given["text_rope_pos"])


def test_a_clip_does_not_depend_on_the_prompts_beside_it(surrogate: Surrogate, pipeline: DiffusionPipeline, photos: Tensor) -> None:
    clips = surrogate.animate(photos, surrogate.encode_text(PROMPTS), seed=3)
    torch.testing.assert_close(clips[:1], called(pipeline, photos[0], PROMPTS[0]), atol=1e-4, rtol=0)
    other = surrogate.animate(photos, surrogate.encode_text(PROMPTS[:1]), seed=3)
    torch.testing.assert_close(clips[:1], other[:1], atol=1e-4, rtol=0)


def test_noise_for_another_number_of_photos_is_refused_with_prompts_of_several_lengths_too(surrogate: Surrogate, photos: Tensor) -> None:
    draw = surrogate.draw(3, torch.Generator().manual_seed(7))
    with pytest.raises(UsageError, match="2 photos but a draw for 3"):
        surrogate(photos, surrogate.encode_text(PROMPTS), draw)


def test_both_text_encoders_are_frozen_and_dropped(folder: Path) -> None:
    surrogate = load(folder)
    encoders = surrogate.pipeline.text_encoder, surrogate.pipeline.text_encoder_2
    assert not any(p.requires_grad for part in encoders for p in part.parameters())
    surrogate.drop_text_encoder()
    assert (surrogate.pipeline.text_encoder, surrogate.pipeline.text_encoder_2) == (None, None)


# ------------------------------------------------------------------------------------------------------------- photo
@pytest.mark.parametrize("visual_cond", [True, False])
def test_the_photo_is_the_first_frame_and_marked_where_the_denoiser_has_room(tmp_path: Path, visual_cond: bool, photos: Tensor) -> None:
    surrogate = load(tiny_kandinsky5(tmp_path, visual_cond=visual_cond))
    condition, draw = surrogate.condition(photos), at_step(surrogate, 0)
    shown: Any = surrogate.inputs(condition, surrogate.encode_text(PROMPTS[:1]), draw.noise, draw.timestep)["hidden_states"]
    assert torch.equal(shown[:, :1, ..., :4], condition["latents"])
    assert torch.equal(shown[:, 1:, ..., :4], draw.noise[:, 1:])
    if visual_cond:
        assert not shown[..., 4:8].any()
        assert shown[:, 0, ..., 8].eq(1).all()
        assert not shown[:, 1:, ..., 8].any()
    theirs = surrogate.pipeline
    theirs.set_progress_bar_config(disable=True)
    assert record(theirs.transformer, lambda: called(theirs, photos[0], PROMPTS[0]))["hidden_states"].shape[1:] == shown.shape[1:]


@pytest.mark.parametrize("size", [(32, 48), (480, 512), (480, 848), (480, 864)])
def test_positions_are_scaled_by_the_resolution_as_the_pipeline_does(
    folder: Path, pipeline: DiffusionPipeline, size: tuple[int, int]
) -> None:
    surrogate: Any = load(folder, *size)
    expected = (1, 2, 2) if size in ((480, 512), (480, 848)) else (1, 3.16, 3.16)
    assert surrogate._scale == pipeline._get_scale_factor(*size) == expected


# ---------------------------------------------------------------------------------------------------------- sampling
def test_the_first_step_is_noise_and_later_ones_are_mixed_as_the_scheduler_does(surrogate: Surrogate, photos: Tensor) -> None:
    scheduler = copy.deepcopy(surrogate.pipeline.scheduler)
    scheduler.set_timesteps(STEPS)
    condition = surrogate.condition(photos.requires_grad_())
    assert torch.equal(surrogate.noisy(condition, at_step(surrogate, 0)), at_step(surrogate, 0).noise)
    for step in range(1, STEPS):
        later = at_step(surrogate, step)
        mixed = surrogate.noisy(condition, later)
        still = condition["latents"].expand_as(later.noise)
        theirs = scheduler.scale_noise(still, scheduler.timesteps[step].expand(2), later.noise)
        torch.testing.assert_close(mixed, theirs, atol=1e-6, rtol=0)
        assert not mixed.requires_grad


def test_the_first_frames_are_fitted_to_those_that_follow_each_clip_by_itself(surrogate: Surrogate, photos: Tensor) -> None:
    condition, latents = surrogate.condition(photos), at_step(surrogate, 0).noise.clone()
    latents[1] = latents[1] * 3 + 1
    final = surrogate.final(condition, latents)
    shown = torch.cat([condition["latents"], latents[:, 1:]], dim=1)
    assert torch.equal(final[:, 4:], latents[:, 4:])
    for i in range(2):
        first, rest = shown[i, :4], shown[i, 4:]
        mean = min(max(rest.mean().item(), first.mean().item() - 0.05), first.mean().item() + 0.1)
        std = min(max(rest.std().item(), first.std().item() - 0.1), first.std().item() + 0.25)
        torch.testing.assert_close(final[i, :4], (first - first.mean()) / first.std() * std + mean, atol=1e-5, rtol=0)
    assert (final[:, 0] - condition["latents"][:, 0]).abs().max() > 0.01  # so not even the photo's own frame stays as it was


def test_of_shorter_clips_the_pipeline_makes_no_picture(pipeline: DiffusionPipeline, photos: Tensor) -> None:
    assert called(pipeline, photos[0], PROMPTS[0], frames=13).isnan().any()
    assert not called(pipeline, photos[0], PROMPTS[0], frames=FRAMES).isnan().any()


def test_decode_undoes_the_scaling_and_the_order_of_channels(surrogate: Surrogate, pipeline: DiffusionPipeline) -> None:
    noise = at_step(surrogate, 0).noise
    assert surrogate.latent_shape(2) == (2, 5, HEIGHT // 8, WIDTH // 8, 4)
    with torch.no_grad():
        video = pipeline.vae.decode(noise.permute(0, 4, 1, 2, 3) / 0.476986).sample
        torch.testing.assert_close(surrogate.decode(noise), (video / 2 + 0.5).clamp(0, 1).transpose(1, 2), atol=1e-5, rtol=0)


# ---------------------------------------------------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((40, 48, 17), "height × width is 40 × 48; Kandinsky 5 needs multiples of 16 × 16"),
        ((32, 0, 17), "height × width is 32 × 0"),
        ((32, 48, 18), "num_frames is 18; Kandinsky 5 needs 1 \\+ a multiple of 4, at least 17"),
        ((32, 48, 13), "num_frames is 13; .*because of less the pipeline makes no picture"),
    ],
)
def test_sizes_the_pipeline_refuses_rounds_or_fails_at_are_refused(folder: Path, size: tuple[int, int, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load(folder, *size)


def test_sparse_attention_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"attention_type is nabla, .*supported Kandinsky 5: regular"):
        load(tiny_kandinsky5(tmp_path, attention_type="nabla"))


def test_a_tap_that_sees_no_photo_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"tap 'text_transformer_blocks\.0' sees no photo"):
        load(folder, taps=("text_transformer_blocks.0",))
