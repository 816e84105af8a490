"""What is peculiar to FramePack: sections from the end to the beginning, their history, and how they are joined."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.surrogates import Draw, Surrogate
from anti_i2v.surrogates.memory.estimate import estimate_memory
from tests.surrogates.family import mode_instead_of_sample
from tests.surrogates.oracle import record
from tests.tiny.framepack import ASKED, FRAMES, TAPS, tiny_framepack
from tests.tiny.hunyuan_video import tokenizer_apart

HEIGHT, WIDTH = 16, 32
STEPS = 4
PROMPT = "a dog runs"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_framepack(tmp_path_factory.mktemp("framepack"))


@pytest.fixture(scope="module")
def surrogate(folder: Path) -> Surrogate:
    return load(folder)


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> DiffusionPipeline:
    return theirs(folder)


@pytest.fixture
def photos() -> Tensor:
    """Two photos on the 8-bit grid."""
    return torch.randint(0, 256, (2, 3, HEIGHT, WIDTH), generator=torch.Generator().manual_seed(1)) / 255


def load(folder: Path, height: int = HEIGHT, width: int = WIDTH, frames: int = FRAMES, **options: Any) -> Surrogate:
    return Surrogate.from_pretrained(str(folder), TAPS, height, width, frames, STEPS, **options)


def theirs(folder: Path, dtype: torch.dtype = torch.float32) -> DiffusionPipeline:
    made = DiffusionPipeline.from_pretrained(folder, dtype=dtype, use_safetensors=True, **tokenizer_apart(folder))
    made.set_progress_bar_config(disable=True)
    return made


def at_step(surrogate: Surrogate, step: int) -> Draw:
    drawn = surrogate.draw(2, torch.Generator().manual_seed(7))
    return Draw(step, surrogate.timesteps[step], surrogate.sigmas[step], drawn.noise)


def called(pipeline: DiffusionPipeline, photo: Tensor, asked: int = ASKED, steps: int = STEPS, **options: Any) -> Tensor:
    picture = Image.fromarray((photo * 255).round().byte().permute(1, 2, 0).numpy())
    with mode_instead_of_sample():
        made: Tensor = pipeline(
            picture,
            prompt=PROMPT,
            height=HEIGHT,
            width=WIDTH,
            num_frames=asked,
            num_inference_steps=steps,
            generator=torch.Generator().manual_seed(3),
            output_type="pt",
            **options,
        ).frames
    return made


# ---------------------------------------------------------------------------------------------------------- sections
def calls(denoiser: torch.nn.Module, run: Callable[[], Tensor]) -> tuple[list[dict[str, Any]], Tensor]:
    """What a denoiser is given in each of its calls while something runs, and what that returns."""
    given: list[dict[str, Any]] = []
    handle = denoiser.register_forward_pre_hook(lambda module, args, named: given.append(named), with_kwargs=True)
    try:
        return given, run()
    finally:
        handle.remove()


@pytest.mark.parametrize(("asked", "frames"), [(33, 37), (133, 181)])
def test_every_section_is_what_the_pipeline_makes_and_the_clip_is_as_long(
    folder: Path, pipeline: DiffusionPipeline, photos: Tensor, asked: int, frames: int
) -> None:
    surrogate = load(folder, frames=frames)
    text = surrogate.encode_text([PROMPT])
    mine, clip = calls(surrogate.denoiser, lambda: surrogate.animate(photos[:1], text, 3, steps=1))
    given, expected = calls(pipeline.transformer, lambda: called(pipeline, photos[0], asked, steps=1))
    assert len(mine) == len(given) == (frames - 1) // 36
    for section, theirs_now in enumerate(given):
        assert theirs_now.keys() == mine[section].keys()
        for name, value in theirs_now.items():
            if isinstance(value, Tensor):
                torch.testing.assert_close(mine[section][name], value, atol=1e-5, rtol=0, msg=lambda m, n=name: f"{n}: {m}")
    assert clip.shape == (1, frames, 3, HEIGHT, WIDTH)
    torch.testing.assert_close(clip, expected, atol=1e-5, rtol=0)


def test_features_are_those_of_the_first_section_which_has_no_history(folder: Path, surrogate: Surrogate, photos: Tensor) -> None:
    text, draw = surrogate.encode_text([PROMPT]), at_step(surrogate, 1)
    given = record(surrogate.denoiser, lambda: surrogate(photos, text, draw))
    assert not given["latents_history_2x"].any()
    assert not given["latents_history_4x"].any()
    assert not given["latents_clean"][:, :, 1:].any()
    assert torch.equal(given["latents_clean"][:, :, :1], surrogate.condition(photos)["latents"])
    assert given["indices_latents_clean"][0] == 0
    assert given["indices_latents"].tolist() == list(range(10, 19))  # of two sections the second
    longer = load(folder, frames=36 * 5 + 1)
    far = record(longer.denoiser, lambda: longer(photos, text, draw))["indices_latents"]
    assert far.tolist() == list(range(1 + 3 * 9, 1 + 4 * 9))  # of many sections as of four


def test_photos_have_their_own_noise_in_every_section(surrogate: Surrogate, photos: Tensor) -> None:
    text = surrogate.encode_text([PROMPT])
    given, _ = calls(surrogate.denoiser, lambda: surrogate.animate(photos, text, 3, steps=1))
    first, second = (section["hidden_states"] for section in given)
    for one, other in ((first[0], first[1]), (second[0], second[1]), (first[0], second[0]), (first[1], second[1])):
        assert (one - other).abs().mean() > 0.5


# ------------------------------------------------------------------------------------------------------------- photo
def test_siglip_sees_the_photo_with_overshoots_as_in_the_pipeline(surrogate: Surrogate, pipeline: DiffusionPipeline) -> None:
    edges = torch.zeros(1, 3, HEIGHT, WIDTH)
    edges[..., WIDTH // 2 :] = 1
    with torch.no_grad():
        mine = surrogate.condition(edges)["image_embeds"]
        torch.testing.assert_close(mine, pipeline.encode_image(edges * 2 - 1), atol=1e-5, rtol=0)
    pixels = pipeline.feature_extractor(images=edges, do_rescale=False, return_tensors="pt").pixel_values
    assert pixels.max() > 1.01  # of -1 to 1: nothing is rounded to 8 bits, so nothing is cut off


def test_guidance_is_rounded_in_half_precision_as_in_the_pipeline(folder: Path, photos: Tensor) -> None:
    half = load(folder, dtype="bfloat16")
    mine = record(half.denoiser, lambda: half(photos[:1], half.encode_text([PROMPT]), half.draw(1, torch.Generator())))
    pipeline = theirs(folder, torch.bfloat16)
    given = record(pipeline.transformer, lambda: called(pipeline, photos[0]))
    assert mine["guidance"].dtype == given["guidance"].dtype == torch.bfloat16
    assert mine["guidance"].tolist() == given["guidance"].tolist() == [6016.0]
    assert mine["timestep"].dtype == given["timestep"].dtype == torch.float32


# ----------------------------------------------------------------------------------------------------------- prompts
def test_prompts_are_read_as_the_pipeline_reads_each_alone(surrogate: Surrogate, pipeline: DiffusionPipeline) -> None:
    prompts = [PROMPT, "", "she waves at the camera, " * 20]
    mine = surrogate.encode_text(prompts)
    for i, prompt in enumerate(prompts):
        states, pooled, mask = pipeline.encode_prompt(prompt)
        torch.testing.assert_close(mine["encoder_hidden_states"][i : i + 1], states, atol=1e-5, rtol=0)
        torch.testing.assert_close(mine["pooled_projections"][i : i + 1], pooled, atol=1e-5, rtol=0)
        assert torch.equal(mine["encoder_attention_mask"][i : i + 1], mask.float())


def test_both_text_encoders_are_frozen_and_dropped(folder: Path) -> None:
    surrogate = load(folder)
    encoders = surrogate.pipeline.text_encoder, surrogate.pipeline.text_encoder_2
    assert not any(p.requires_grad for part in encoders for p in part.parameters())
    surrogate.drop_text_encoder()
    assert (surrogate.pipeline.text_encoder, surrogate.pipeline.text_encoder_2) == (None, None)


# ---------------------------------------------------------------------------------------------------------- sampling
def test_the_first_step_is_noise_and_later_ones_are_mixed_as_the_scheduler_does(surrogate: Surrogate, photos: Tensor) -> None:
    scheduler: Any = copy.deepcopy(surrogate._schedule(STEPS))
    condition = surrogate.condition(photos.requires_grad_())
    assert torch.equal(surrogate.noisy(condition, at_step(surrogate, 0)), at_step(surrogate, 0).noise)
    for step in range(1, STEPS):
        later = at_step(surrogate, step)
        mixed = surrogate.noisy(condition, later)
        still = condition["latents"].expand_as(later.noise)
        expected = scheduler.scale_noise(still, scheduler.timesteps[step].expand(2), later.noise)
        torch.testing.assert_close(mixed, expected, atol=1e-6, rtol=0)
        assert not mixed.requires_grad


def test_the_shift_grows_with_the_tokens_of_a_section_up_to_seven(tmp_path: Path, folder: Path, surrogate: Surrogate) -> None:
    def shifted(factor: float) -> Any:
        shares = np.linspace(1, 0, STEPS + 1)[:-1]
        return pytest.approx((factor * shares / (1 + (factor - 1) * shares)).tolist(), rel=1e-5)

    tokens = 9 * (HEIGHT // 16) * (WIDTH // 16)
    assert surrogate.sigmas == shifted(math.exp(0.5 + (1.15 - 0.5) / (4096 - 256) * (tokens - 256)))
    assert load(folder, 832, 832).sigmas == shifted(7.0)
    assert load(tiny_framepack(tmp_path, shifts=False)).sigmas == shifted(7.0)  # the scheduler's own


@pytest.mark.parametrize("batch", [1, 2])
def test_a_plan_does_not_ask_where_a_prompt_ends(folder: Path, batch: int) -> None:
    need = estimate_memory(str(folder), TAPS, HEIGHT, WIDTH, FRAMES, batch)
    assert need.peak > need.kept > 0


# ---------------------------------------------------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((24, 32, 73), "height × width is 24 × 32; FramePack needs multiples of 16 × 16"),
        ((0, 32, 73), "height × width is 0 × 32"),
        ((16, 32, 33), "num_frames is 33; FramePack makes clips of 1 \\+ a multiple of 36: 37, 73, …"),
        ((16, 32, 1), "num_frames is 1; "),
        ((16, 32, -35), "num_frames is -35; "),
    ],
)
def test_sizes_the_pipeline_refuses_or_makes_otherwise_are_refused(folder: Path, size: tuple[int, int, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load(folder, *size)
