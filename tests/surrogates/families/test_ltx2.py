"""What is peculiar to LTX-2; the rest is in `test_families`, what it shares with LTX-Video in `test_ltx`."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.surrogates import Draw, Surrogate
from anti_i2v.surrogates.memory.estimate import text_encoder_bytes
from tests.surrogates.family import FAMILIES, PROMPT, Family, TinyModels, draw_at
from tests.surrogates.oracle import assert_close, record
from tests.tiny.ltx import SHIFT, TERMINAL
from tests.tiny.ltx2 import FRAMES, SOUND, TAPS, VIDEO, noise_of_video_and_sound


@pytest.fixture(scope="module")
def family() -> Family:
    return FAMILIES["ltx-2"]


PHOTO_TOKENS = VIDEO[2] * VIDEO[3]


def test_noise_of_video_and_sound_at_once_is_that_of_one_after_the_other(surrogate: Surrogate) -> None:
    assert surrogate.latent_shape(3) == (3, 8 * 3 * 2 * 4 + 2 * 9 * 2)
    noise = torch.randn(surrogate.latent_shape(1), generator=torch.Generator().manual_seed(5))
    assert torch.equal(noise, noise_of_video_and_sound(surrogate.latent_shape(1), torch.Generator().manual_seed(5)))


def test_the_shift_grows_with_the_videos_tokens(surrogate: Surrogate) -> None:
    few, many, low, high = SHIFT
    grown = math.exp(low + (math.prod(VIDEO[1:]) - few) / (many - few) * (high - low))
    shifted = [grown / (grown + 1 / s - 1) for s in (1, 0.75, 0.5, 0.25)]
    assert surrogate.sigmas == pytest.approx([1 - (1 - s) / (1 - shifted[-1]) * (1 - TERMINAL) for s in shifted], abs=1e-6)


def test_sound_is_as_long_as_the_video(family: Family, folder: Path, photos: Tensor) -> None:
    for num_frames, length in ((FRAMES, 9), (25, 26)):  # 25 latents a second, 24 frames
        longer = family.surrogate(folder, num_frames=num_frames)
        arguments = record(longer.denoiser, lambda s=longer: s(photos, s.encode_text([PROMPT]), draw_at(s, 0)))  # type: ignore[misc]
        assert arguments["audio_num_frames"] == length
        assert arguments["audio_hidden_states"].shape == (2, length, SOUND[0] * SOUND[2])
        assert arguments["audio_coords"].shape == (2, 1, length, 2)


def test_features_of_the_video_depend_on_the_noise_of_the_sound(surrogate: Surrogate, photos: Tensor) -> None:
    draw = draw_at(surrogate, 0)
    other = draw.noise.clone()
    other[:, math.prod(VIDEO) :] *= -1
    text = surrogate.encode_text([PROMPT])
    with torch.no_grad():
        one = surrogate(photos, text, draw)
        two = surrogate(photos, text, Draw(0, draw.timestep, draw.sigma, other))
    assert all(one[tap].shape == (2, math.prod(VIDEO[1:]), 32) for tap in TAPS)
    assert (one[TAPS[1]] - two[TAPS[1]]).abs().max() > 1e-6


def test_the_default_call_compresses_the_photo(family: Family, pipeline: DiffusionPipeline, photos: Tensor) -> None:
    pytest.importorskip("av")  # which the pipeline compresses with
    plain = record(pipeline.transformer, lambda: family.call(pipeline, photos[0], 3))["hidden_states"]
    coded = record(pipeline.transformer, lambda: family.call(pipeline, photos[0], 3, image_crf=None))["hidden_states"]
    assert (coded[:, :PHOTO_TOKENS] - plain[:, :PHOTO_TOKENS]).abs().max() > 1e-3
    assert torch.equal(coded[:, PHOTO_TOKENS:], plain[:, PHOTO_TOKENS:])


@pytest.mark.parametrize(("name", "widths"), [("ltx-2", (16, 16)), ("ltx-2.3", (32, 16))])
def test_an_encoded_prompt_is_the_output_of_the_connectors(tiny: TinyModels, name: str, widths: tuple[int, int]) -> None:
    surrogate = tiny.surrogate(name)
    text = surrogate.encode_text([PROMPT, "she waves"])
    shapes = {key: (tuple(value.shape[1:]), value.dtype) for key, value in text.items()}
    assert shapes == surrogate.text_shapes()
    assert tuple(text[key].shape[-1] for key in ("encoder_hidden_states", "audio_encoder_hidden_states")) == widths
    pipeline = surrogate.pipeline
    with torch.no_grad():
        states, mask, _, _ = pipeline.encode_prompt([PROMPT, "she waves"], do_classifier_free_guidance=False)
        together = pipeline.connectors(states, mask, padding_side="left")
    for key, expected in zip(text, together, strict=True):
        assert_close(text[key], expected)


def test_only_denoiser_and_autoencoder_stay_loaded_once_prompts_are_encoded(family: Family, folder: Path) -> None:
    small = family.surrogate(folder, prompts=[PROMPT])
    parts = {name for name, part in small.pipeline.components.items() if isinstance(part, torch.nn.Module)}
    assert parts == {"transformer", "vae"}
    assert json.loads((folder / "model_index.json").read_text())["vocoder"] == ["ltx2", "LTX2Vocoder"]


def test_language_model_and_connectors_are_counted_as_text_encoders(folder: Path, pipeline: DiffusionPipeline) -> None:
    expected = sum(p.numel() * 4 for part in (pipeline.text_encoder, pipeline.connectors) for p in part.parameters())
    assert text_encoder_bytes(str(folder)) == expected


def test_a_single_step_is_refused(family: Family, folder: Path) -> None:
    with pytest.raises(UsageError, match=r"steps is 1; this LTX's schedule runs from 1 to 0.1"):
        family.surrogate(folder, steps=1)
