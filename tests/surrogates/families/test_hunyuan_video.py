"""What is peculiar to HunyuanVideo: LLaVA, which reads photo and prompt together, its tokenizer, and the two layouts."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video_image2video import DEFAULT_PROMPT_TEMPLATE
from torch import Tensor
from torch.nn import functional as F

from anti_i2v.errors import UsageError
from anti_i2v.surrogates import Draw, Surrogate
from anti_i2v.surrogates.families.hunyuan_video import HunyuanVideoSurrogate
from anti_i2v.surrogates.loading import load_pipeline
from tests.surrogates.family import FAMILIES, PROMPT, STEPS, Family, TinyModels, draw_at, to_picture
from tests.surrogates.oracle import assert_close, record
from tests.tiny.hunyuan_video import FRAMES, HEIGHT, TAPS, WIDTH, tiny_hunyuan_video
from tests.tiny.parts import edit_json

CONCAT = FAMILIES["hunyuan-video-concat"]


@pytest.fixture(scope="module", params=["hunyuan-video-concat", "hunyuan-video-replace"])
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


@pytest.fixture(scope="module")
def interleave(family: Family) -> int:
    """Of how many of the photo's tokens the denoiser is given one."""
    return 2 if family is CONCAT else 4


@pytest.mark.parametrize("declared", ["TokenizersBackend", "LlamaTokenizer", "LlamaTokenizerFast", "PreTrainedTokenizerFast"])
def test_the_loader_reads_prompts_as_the_tokenizers_file_says_where_diffusers_own_does_not(tmp_path: Path, declared: str) -> None:
    folder = tiny_hunyuan_video(tmp_path / "model")
    edit_json(folder / "tokenizer" / "tokenizer_config.json", tokenizer_class=declared)
    pipelines = load_pipeline(str(folder)), DiffusionPipeline.from_pretrained(folder, use_safetensors=True)
    text = DEFAULT_PROMPT_TEMPLATE["template"].format("a dog")
    good, bad = (pipeline.tokenizer.convert_ids_to_tokens(pipeline.tokenizer(text).input_ids) for pipeline in pipelines)
    # U+010A and U+0120 are how byte-level vocabularies write a line end and a space
    assert good[3:7] == ["<|end_header_id|>", "\u010a\u010a", "<image>", "\u010a"]
    assert good[DEFAULT_PROMPT_TEMPLATE["crop_start"] :][:6] == ["a", "\u0120d", "o", "g", "<|eot_id|>", "<|start_header_id|>"]
    assert bad[3:6] == ["<|end_header_id|>", "<image>", "Describe"]  # no line ends, and one place too early


def test_a_pipeline_with_the_wrong_tokenizer_is_refused(tiny: TinyModels) -> None:
    pipeline = DiffusionPipeline.from_pretrained(tiny.folder(CONCAT.name), dtype=torch.float32, use_safetensors=True)
    message = r"LlamaTokenizer puts '<image>' at \[4\].*looks for it at 5; load tokenizer\.json as it is"
    with pytest.raises(UsageError, match=message):
        HunyuanVideoSurrogate(pipeline, TAPS, HEIGHT, WIDTH, FRAMES, STEPS)


def test_a_missing_tokenizer_is_reported_on_one_line(tmp_path: Path) -> None:
    folder = tiny_hunyuan_video(tmp_path / "model")
    for file in (folder / "tokenizer").iterdir():
        file.unlink()
    with pytest.raises(UsageError, match="cannot load the pipeline"):
        CONCAT.surrogate(folder)


def test_a_prompt_with_the_token_of_the_photo_is_refused(surrogate: Surrogate) -> None:
    with pytest.raises(UsageError, match=r"'an <image> of a dog' contains '<image>', which stands for the photo; leave it out"):
        surrogate.encode_text(["an <image> of a dog"])


def test_every_prompt_of_a_batch_is_read_as_the_pipeline_reads_it_alone(
    interleave: int, surrogate: Surrogate, pipeline: DiffusionPipeline, photos: Tensor
) -> None:
    long = "she waves at the camera, " * 20  # cut off, and the end of the template with it
    prompts, photo = ["", PROMPT, long], photos[:1]
    text = surrogate.encode_text(prompts)
    with torch.no_grad():
        mine = surrogate.join_text(surrogate.condition(photo.expand(3, -1, -1, -1)), text)["prompt_embeds"]
        for i, prompt in enumerate(prompts):
            embeds, pooled, mask = pipeline.encode_prompt(to_picture(photo[0]), prompt, image_embed_interleave=interleave)
            assert_close(mine[i : i + 1], embeds)
            assert_close(text["pooled_projections"][i : i + 1], pooled)
            assert torch.equal(text["encoder_attention_mask"][i : i + 1], mask.float())


def test_llavas_states_of_a_prompt_depend_on_the_photo(interleave: int, surrogate: Surrogate, photos: Tensor) -> None:
    text = surrogate.encode_text([PROMPT])
    with torch.no_grad():
        one, other = (surrogate.join_text(surrogate.condition(photo[None]), text)["prompt_embeds"] for photo in photos)
    visible = 576 // interleave
    assert (one - other)[:, :visible].abs().mean() > 0.1
    assert (one - other)[:, visible : visible + 8].abs().mean() > 0.05


def test_the_route_through_llava_can_be_cut_off_the_gradient_and_off_nothing_else(surrogate: Surrogate, photos: Tensor, draw: Draw) -> None:
    without: Any = surrogate.with_taps(TAPS)
    without.through_language_model = False
    text, slopes, features = surrogate.encode_text([PROMPT]), [], []
    for model in (surrogate, without):
        leaf = photos.clone().requires_grad_()
        joined = model.join_text(model.condition(leaf), text | {key: value.expand(2, -1) for key, value in text.items()})
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
    text = {key: value.expand(2, -1) for key, value in surrogate.encode_text([PROMPT]).items()}
    inside = photos * 0.8 + 0.1  # away from the clamp, where the straight-through gradient is the true one

    def value(photo: Tensor) -> Tensor:
        return surrogate.join_text({"photo": photo}, text)["prompt_embeds"].double().square().mean()

    leaf = inside.clone().requires_grad_()
    (slope,) = torch.autograd.grad(value(leaf), leaf)
    step = 1e-3 * slope.sign()
    with torch.no_grad():
        assert float(value(inside + step) - value(inside - step)) / 2e-3 == pytest.approx(float(slope.abs().sum()), rel=0.02)


def test_llava_stays_frozen_and_moves_along_when_the_text_encoder_is_dropped(tiny: TinyModels, photos: Tensor) -> None:
    surrogate = CONCAT.surrogate(tiny.folder(CONCAT.name))
    text, draw = surrogate.encode_text([PROMPT]), draw_at(surrogate, 0)
    before = surrogate(photos, text, draw)[TAPS[0]]
    surrogate.drop_text_encoder()
    assert surrogate.pipeline.text_encoder_2 is None
    again = surrogate.encode_text([PROMPT])
    assert torch.equal(surrogate(photos, again, draw)[TAPS[0]], before)
    names = {name for name, _ in surrogate.named_parameters()}
    assert any(name.startswith("language_model.model.vision_tower.") for name in names)
    assert any(name.startswith("language_model.model.language_model.") for name in names)
    assert not any(parameter.requires_grad for parameter in surrogate.pipeline.text_encoder.parameters())
    surrogate.train()
    assert not any(module.training for module in surrogate.pipeline.text_encoder.modules())


@pytest.mark.parametrize("size", [(64, 96), (32, 48)])
def test_llava_gets_the_resized_photo_but_for_the_rounding_to_8_bits(tiny: TinyModels, size: tuple[int, int]) -> None:
    small = torch.rand(1, 3, 6, 8, generator=torch.Generator().manual_seed(2))
    smooth = (F.interpolate(small, size=size, mode="bilinear") * 255).round() / 255
    surrogate: Any = CONCAT.surrogate(tiny.folder(CONCAT.name), height=size[0], width=size[1])
    process = surrogate.pipeline.image_processor
    theirs = process(to_picture(smooth[0]), return_tensors="pt").pixel_values
    levels = (surrogate._resize_for_llava(smooth) - theirs).abs() * torch.tensor(process.image_std).view(1, 3, 1, 1) * 255
    assert levels.mean() < 0.35  # rounding twice, to whole levels, is off by about a quarter of one
    assert levels.max() < 1.5


def test_the_first_step_holds_a_thousandth_of_the_photo(surrogate: Surrogate, photos: Tensor, draw: Draw) -> None:
    condition = surrogate.condition(photos.requires_grad_())
    start = surrogate.noisy_latents(condition, draw)
    assert_close(start, 0.999 * draw.noise + 0.001 * condition["latents"])
    assert start.requires_grad  # the pipeline's own route, unlike the still clip of later steps
    assert not surrogate.noisy_latents(condition, draw_at(surrogate, 1)).requires_grad


def test_the_schedule_is_that_of_the_pipelines_call_not_the_schedulers_default(surrogate: Surrogate) -> None:
    shares = [1 - i / STEPS for i in range(STEPS)]
    assert surrogate.sigmas == pytest.approx([7 * share / (1 + 6 * share) for share in shares], rel=1e-6)  # shifted by 7
    assert surrogate.timesteps.tolist() == pytest.approx([1000 * sigma for sigma in surrogate.sigmas])
    default = copy.deepcopy(surrogate.pipeline.scheduler)
    default.set_timesteps(STEPS)
    assert abs(float(default.sigmas[STEPS - 1]) - surrogate.sigmas[-1]) > 0.1


def test_the_denoiser_is_given_a_guidance_scale_where_it_was_distilled(
    family: Family, surrogate: Surrogate, pipeline: DiffusionPipeline, photos: Tensor
) -> None:
    guided: Any = surrogate.with_taps(TAPS)
    guided.guidance_scale = 6.0
    text = surrogate.encode_text([PROMPT])
    mine = record(guided.denoiser, lambda: guided(photos[:1], text, draw_at(surrogate, 0, 1)))["guidance"]
    theirs = record(pipeline.transformer, lambda: family.call(pipeline, photos[0], 3, guidance_scale=6.0))["guidance"]
    assert (mine is None) is (theirs is None) is (family is CONCAT)
    assert mine is None or mine.tolist() == theirs.tolist() == [6000]


def test_decoded_needs_no_llava(surrogate: Surrogate, photos: Tensor, draw: Draw, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("it ran")

    text = surrogate.encode_text([PROMPT])
    monkeypatch.setattr(surrogate.pipeline.text_encoder.model, "forward", fail)
    assert surrogate.with_taps(["decoded"])(photos, text, draw)["decoded"].shape == photos.shape


def test_a_denoiser_without_a_photo_is_refused(tmp_path: Path) -> None:
    folder = tiny_hunyuan_video(tmp_path / "text", None)
    with pytest.raises(UsageError, match="image_condition_type is None; supported HunyuanVideo: latent_concat, token_replace"):
        CONCAT.surrogate(folder)
