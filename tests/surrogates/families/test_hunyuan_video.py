"""What is peculiar to HunyuanVideo: LLaVA, which reads photo and prompt together, its tokenizer, and the two layouts."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video_image2video import DEFAULT_PROMPT_TEMPLATE
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from anti_i2v.errors import UsageError
from anti_i2v.surrogates import Draw, Surrogate
from anti_i2v.surrogates.families.hunyuan_video import HunyuanVideoSurrogate
from anti_i2v.surrogates.loading import load_pipeline
from tests.surrogates.oracle import record
from tests.tiny.hunyuan_video import FRAMES, HEIGHT, TAPS, WIDTH, tiny_hunyuan_video, tokenizer_apart

STEPS = 4
INTERLEAVE = {"latent_concat": 2, "token_replace": 4}


@pytest.fixture(scope="module", params=["latent_concat", "token_replace"])
def layout(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def folder(layout: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_hunyuan_video(tmp_path_factory.mktemp(layout), layout)


@pytest.fixture(scope="module")
def concat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_hunyuan_video(tmp_path_factory.mktemp("concat"), "latent_concat")


@pytest.fixture(scope="module")
def surrogate(folder: Path) -> Surrogate:
    return load(folder)


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> DiffusionPipeline:
    """The same folder, loaded by diffusers itself, but for the tokenizer."""
    return DiffusionPipeline.from_pretrained(folder, dtype=torch.float32, use_safetensors=True, **tokenizer_apart(folder))


@pytest.fixture
def photos() -> Tensor:
    """Two photos on the 8-bit grid."""
    return torch.randint(0, 256, (2, 3, HEIGHT, WIDTH), generator=torch.Generator().manual_seed(1)) / 255


@pytest.fixture
def draw(surrogate: Surrogate) -> Draw:
    return at_step(surrogate, 0)


def load(folder: Path, height: int = HEIGHT, width: int = WIDTH, frames: int = FRAMES) -> Surrogate:
    return Surrogate.from_pretrained(str(folder), TAPS, height, width, frames, STEPS)


def at_step(surrogate: Surrogate, step: int) -> Draw:
    drawn = surrogate.draw(2, torch.Generator().manual_seed(7))
    return Draw(step, surrogate.timesteps[step], surrogate.sigmas[step], drawn.noise)


def picture(photo: Tensor) -> Image.Image:
    return Image.fromarray((photo * 255).round().byte().permute(1, 2, 0).numpy())


# ------------------------------------------------------------------------------------------------------- tokenizer
@pytest.mark.parametrize("declared", ["TokenizersBackend", "LlamaTokenizer", "LlamaTokenizerFast", "PreTrainedTokenizerFast"])
def test_the_loader_reads_prompts_as_the_tokenizers_file_says_where_diffusers_own_does_not(tmp_path: Path, declared: str) -> None:
    folder = tiny_hunyuan_video(tmp_path / "model")
    settings = folder / "tokenizer" / "tokenizer_config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "tokenizer_class": declared}))
    pipelines = load_pipeline(str(folder)), DiffusionPipeline.from_pretrained(folder, use_safetensors=True)
    text = DEFAULT_PROMPT_TEMPLATE["template"].format("a dog")
    good, bad = (pipeline.tokenizer.convert_ids_to_tokens(pipeline.tokenizer(text).input_ids) for pipeline in pipelines)
    # U+010A and U+0120 are how byte-level vocabularies write a line end and a space
    assert good[3:7] == ["<|end_header_id|>", "\u010a\u010a", "<image>", "\u010a"]
    assert good[DEFAULT_PROMPT_TEMPLATE["crop_start"] :][:6] == ["a", "\u0120d", "o", "g", "<|eot_id|>", "<|start_header_id|>"]
    assert bad[3:6] == ["<|end_header_id|>", "<image>", "Describe"]  # no line ends, and one place too early


def test_a_pipeline_with_the_wrong_tokenizer_is_refused(concat: Path) -> None:
    pipeline = DiffusionPipeline.from_pretrained(concat, dtype=torch.float32, use_safetensors=True)
    message = r"LlamaTokenizer puts '<image>' at \[4\].*looks for it at 5; load tokenizer\.json as it is"
    with pytest.raises(UsageError, match=message):
        HunyuanVideoSurrogate(pipeline, TAPS, HEIGHT, WIDTH, FRAMES, STEPS)


def test_a_missing_tokenizer_is_one_line(tmp_path: Path) -> None:
    folder = tiny_hunyuan_video(tmp_path / "model")
    for file in (folder / "tokenizer").iterdir():
        file.unlink()
    with pytest.raises(UsageError, match="cannot load the pipeline"):
        load(folder)


def test_a_prompt_cannot_name_the_photo(surrogate: Surrogate) -> None:
    with pytest.raises(UsageError, match=r"'an <image> of a dog' contains '<image>', which stands for the photo; leave it out"):
        surrogate.encode_text(["an <image> of a dog"])


# ----------------------------------------------------------------------------------------------------------- LLaVA
def test_every_prompt_of_a_batch_is_read_as_the_pipeline_reads_it_alone(
    layout: str, surrogate: Surrogate, pipeline: DiffusionPipeline, photos: Tensor
) -> None:
    long = "she waves at the camera, " * 20  # cut off, and the end of the template with it
    prompts, photo = ["", "a dog runs", long], photos[:1]
    text = surrogate.encode_text(prompts)
    with torch.no_grad():
        mine = surrogate.joined(surrogate.condition(photo.expand(3, -1, -1, -1)), text)["prompt_embeds"]
        for i, prompt in enumerate(prompts):
            embeds, pooled, mask = pipeline.encode_prompt(picture(photo[0]), prompt, image_embed_interleave=INTERLEAVE[layout])
            torch.testing.assert_close(mine[i : i + 1], embeds, atol=1e-5, rtol=0)
            torch.testing.assert_close(text["pooled_projections"][i : i + 1], pooled, atol=1e-5, rtol=0)
            assert torch.equal(text["encoder_attention_mask"][i : i + 1], mask.float())


def test_what_llava_says_of_a_prompt_depends_on_the_photo(layout: str, surrogate: Surrogate, photos: Tensor) -> None:
    text = surrogate.encode_text(["a dog runs"])
    with torch.no_grad():
        one, other = (surrogate.joined(surrogate.condition(photo[None]), text)["prompt_embeds"] for photo in photos)
    shown = 576 // INTERLEAVE[layout]
    assert (one - other)[:, :shown].abs().mean() > 0.1
    assert (one - other)[:, shown : shown + 8].abs().mean() > 0.05


def test_the_route_through_llava_can_be_cut_off_the_gradient_and_off_nothing_else(surrogate: Surrogate, photos: Tensor, draw: Draw) -> None:
    without: Any = surrogate.with_taps(TAPS)
    without.through_language_model = False
    text, slopes, features = surrogate.encode_text(["a dog runs"]), [], []
    for model in (surrogate, without):
        leaf = photos.clone().requires_grad_()
        joined = model.joined(model.condition(leaf), text | {key: value.expand(2, -1) for key, value in text.items()})
        assert joined["prompt_embeds"].requires_grad is (model is surrogate)
        assert joined["latents"].requires_grad
        features.append(model(leaf, text, draw))
        sum(value.square().mean() for value in features[-1].values()).backward()
        assert leaf.grad is not None
        slopes.append(leaf.grad)
    assert all(torch.equal(features[0][tap], features[1][tap]) for tap in TAPS)
    assert slopes[1].abs().max() > 0
    assert (slopes[0] - slopes[1]).abs().max() > 1e-3 * slopes[0].abs().max()


def test_the_gradient_through_llava_is_the_slope_of_its_states(surrogate: Surrogate, photos: Tensor) -> None:
    text = {key: value.expand(2, -1) for key, value in surrogate.encode_text(["a dog runs"]).items()}
    inside = photos * 0.8 + 0.1  # away from the clamp, where the straight-through gradient is the true one

    def value(photo: Tensor) -> Tensor:
        return surrogate.joined({"photo": photo}, text)["prompt_embeds"].double().square().mean()

    leaf = inside.clone().requires_grad_()
    (slope,) = torch.autograd.grad(value(leaf), leaf)
    step = 1e-3 * slope.sign()
    with torch.no_grad():
        assert float(value(inside + step) - value(inside - step)) / 2e-3 == pytest.approx(float(slope.abs().sum()), rel=0.02)


def test_llava_stays_frozen_and_moves_along_when_the_text_encoder_is_dropped(concat: Path, photos: Tensor) -> None:
    surrogate = load(concat)
    text, draw = surrogate.encode_text(["a dog runs"]), at_step(surrogate, 0)
    before = surrogate(photos, text, draw)[TAPS[0]]
    surrogate.drop_text_encoder()
    assert surrogate.pipeline.text_encoder_2 is None
    again = surrogate.encode_text(["a dog runs"])
    assert torch.equal(surrogate(photos, again, draw)[TAPS[0]], before)
    with pytest.raises(UsageError, match="the text encoder was dropped before the prompt 'she waves'"):
        surrogate.encode_text(["she waves"])
    moved = {name for name, _ in surrogate.named_parameters()}
    assert any(name.startswith("language_model.model.vision_tower.") for name in moved)
    assert any(name.startswith("language_model.model.language_model.") for name in moved)
    assert not any(parameter.requires_grad for parameter in surrogate.pipeline.text_encoder.parameters())
    surrogate.train()
    assert not any(module.training for module in surrogate.pipeline.text_encoder.modules())


def test_the_text_encoder_that_goes_is_frozen_too(concat: Path) -> None:
    clip = load(concat).pipeline.text_encoder_2
    assert not any(parameter.requires_grad for parameter in clip.parameters())
    assert not any(module.training for module in clip.modules())


@pytest.mark.parametrize("size", [(64, 96), (32, 48)])
def test_llava_is_shown_the_resized_photo_but_for_the_rounding_to_8_bits(concat: Path, size: tuple[int, int]) -> None:
    small = torch.rand(1, 3, 6, 8, generator=torch.Generator().manual_seed(2))
    smooth = (F.interpolate(small, size=size, mode="bilinear") * 255).round() / 255
    surrogate: Any = load(concat, *size)
    process = surrogate.pipeline.image_processor
    theirs = process(picture(smooth[0]), return_tensors="pt").pixel_values
    levels = (surrogate._shown_to_llava(smooth) - theirs).abs() * torch.tensor(process.image_std).view(1, 3, 1, 1) * 255
    assert levels.mean() < 0.35  # rounding twice, to whole levels, is off by about a quarter of one
    assert levels.max() < 1.5


# ------------------------------------------------------------------------------------------------------- sampling
def test_the_first_step_holds_a_thousandth_of_the_photo(surrogate: Surrogate, photos: Tensor, draw: Draw) -> None:
    condition = surrogate.condition(photos.requires_grad_())
    start = surrogate.noisy(condition, draw)
    torch.testing.assert_close(start, 0.999 * draw.noise + 0.001 * condition["latents"], atol=1e-6, rtol=0)
    assert start.requires_grad  # the pipeline's own route, unlike the still clip of later steps
    assert not surrogate.noisy(condition, at_step(surrogate, 1)).requires_grad


def test_noise_levels_are_mixed_as_the_scheduler_does(surrogate: Surrogate, photos: Tensor) -> None:
    scheduler = copy.deepcopy(surrogate.pipeline.scheduler)
    scheduler.set_timesteps(sigmas=np.linspace(1, 0, STEPS + 1)[:-1])
    condition = surrogate.condition(photos)
    for step in range(1, STEPS):
        later = at_step(surrogate, step)
        still = condition["latents"].expand_as(later.noise)
        theirs = scheduler.scale_noise(still, scheduler.timesteps[step].expand(2), later.noise)
        torch.testing.assert_close(surrogate.noisy(condition, later), theirs, atol=1e-6, rtol=0)


def test_the_schedule_is_the_calls_and_not_the_schedulers_default(surrogate: Surrogate) -> None:
    shares = [1 - i / STEPS for i in range(STEPS)]
    assert surrogate.sigmas == pytest.approx([7 * share / (1 + 6 * share) for share in shares], rel=1e-6)  # shifted by 7
    assert surrogate.timesteps.tolist() == pytest.approx([1000 * sigma for sigma in surrogate.sigmas])
    default = copy.deepcopy(surrogate.pipeline.scheduler)
    default.set_timesteps(STEPS)
    assert abs(float(default.sigmas[STEPS - 1]) - surrogate.sigmas[-1]) > 0.1


def test_the_denoiser_is_told_a_guidance_scale_where_it_was_distilled(
    layout: str, surrogate: Surrogate, pipeline: DiffusionPipeline, photos: Tensor
) -> None:
    guided: Any = surrogate.with_taps(TAPS)
    guided.guidance_scale = 6.0
    text = surrogate.encode_text(["a dog runs"])
    mine = record(guided.denoiser, lambda: guided(photos[:1], text, at_one(surrogate)))["guidance"]
    pipeline.set_progress_bar_config(disable=True)
    size = {"height": HEIGHT, "width": WIDTH, "num_frames": FRAMES, "num_inference_steps": STEPS}
    theirs = record(pipeline.transformer, lambda: pipeline(picture(photos[0]), "a dog runs", guidance_scale=6.0, **size))["guidance"]
    assert (mine is None) is (theirs is None) is (layout == "latent_concat")
    assert mine is None or mine.tolist() == theirs.tolist() == [6000]


def at_one(surrogate: Surrogate) -> Draw:
    return surrogate.draw(1, torch.Generator().manual_seed(7), min_sigma=1.0)


def test_what_the_sampler_holds_in_the_photos_frame_is_replaced(layout: str, surrogate: Surrogate, photos: Tensor, draw: Draw) -> None:
    condition, other = surrogate.condition(photos), draw.noise.clone()
    other[:, :, 0] = 9
    replaced = layout == "token_replace"
    assert torch.equal(surrogate.final(condition, draw.noise), surrogate.final(condition, other)) is replaced
    assert torch.equal(surrogate.final(condition, draw.noise)[:, :, :1], condition["latents"]) is replaced
    assert torch.equal(surrogate.final(condition, draw.noise)[:, :, 1:], draw.noise[:, :, 1:])


def test_decode_undoes_the_scaling_and_drops_what_the_pipeline_drops(
    layout: str, surrogate: Surrogate, pipeline: DiffusionPipeline, draw: Draw
) -> None:
    with torch.no_grad():
        video = pipeline.vae.decode(draw.noise / 0.476986).sample
        mine = surrogate.decode(draw.noise)
    dropped = 4 if layout == "latent_concat" else 0
    assert video.shape[2] == FRAMES + dropped
    assert surrogate.latent_shape(2) == (2, 4, 4 if dropped else 3, HEIGHT // 8, WIDTH // 8)
    expected = ((video[:, :, dropped:] + 1) / 2).clamp(0, 1).transpose(1, 2)
    torch.testing.assert_close(mine, expected, atol=1e-5, rtol=0)


def test_decoded_needs_neither_denoiser_nor_llava(
    surrogate: Surrogate, photos: Tensor, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("it ran")

    text = surrogate.encode_text(["a dog runs"])
    monkeypatch.setattr(surrogate.denoiser, "forward", fail)
    monkeypatch.setattr(surrogate.pipeline.text_encoder.model, "forward", fail)
    vae: Any = surrogate.vae
    with torch.no_grad():
        decoded = surrogate.with_taps(["decoded"])(photos, text, draw)["decoded"]
        latents = vae.encode((2 * photos - 1).unsqueeze(2)).latent_dist.mode()
        expected = (vae.decode(latents).sample[:, :, 0] / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(decoded, expected, atol=1e-5, rtol=0)


# -------------------------------------------------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((40, 64, 9), "height × width is 40 × 64; this HunyuanVideo needs multiples of 16 × 16"),
        ((48, 8, 9), "height × width is 48 × 8"),
        ((48, 64, 8), "num_frames is 8; this HunyuanVideo needs 1 \\+ a multiple of 4: 5, 9, …"),
        ((48, 64, 1), "num_frames is 1"),
        ((48, 64, -3), "num_frames is -3"),
    ],
)
def test_sizes_the_pipeline_refuses_or_rounds_are_refused(folder: Path, size: tuple[int, int, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load(folder, *size)


def test_a_denoiser_that_is_shown_no_photo_is_refused(tmp_path: Path) -> None:
    folder = tiny_hunyuan_video(tmp_path / "text", None)
    with pytest.raises(UsageError, match="image_condition_type is None; supported HunyuanVideo: latent_concat, token_replace"):
        load(folder)
