"""Every family against the real pipeline's own call, and the promises of the contract: the same tests for all.

A new family adds its row to `tests/surrogates/family.py`; what is peculiar to it stands in a test file of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.surrogates import Draw, Surrogate
from anti_i2v.surrogates.memory.peak import LivePeak
from tests.surrogates.family import FAMILIES, PROMPT, STEPS, Family, TinyModels, draw_at
from tests.surrogates.oracle import assert_close, record
from tests.tiny.parts import edit_json


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


def assert_same(family: Family, mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Every argument that the pipeline gives, and no other but those at the denoiser's own default.

    `return_dict` only says how the denoiser wraps its output.
    """
    mine, theirs = ({name: value for name, value in arguments.items() if name != "return_dict"} for arguments in (mine, theirs))
    assert theirs.keys() - mine.keys() == set()
    assert {name for name in mine.keys() - theirs.keys() if mine[name] is not None} == set()
    for name, value in theirs.items():
        for mine_part, their_part in zip(as_list(mine[name]), as_list(value), strict=True):
            if isinstance(their_part, Tensor):
                assert_close(mine_part.to(their_part.dtype), their_part, family.rounding.get(name, 1e-4), name)
            else:
                assert mine_part == their_part, name


def as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (tuple, list)) else [value]


def first_draw(family: Family, surrogate: Surrogate, seed: int) -> Draw:
    """Step 0 with the noise that the pipeline's call makes of the seed."""
    generator = torch.Generator().manual_seed(seed)
    shape = surrogate.image_noise_shape(1)
    image_noise = None if shape is None else torch.randn(shape, generator=generator)
    noise = family.first_noise(surrogate.latent_shape(1), generator)
    return Draw(0, surrogate.timesteps[0], surrogate.sigmas[0], noise, image_noise)


def gradient(surrogate: Surrogate, photos: Tensor, draw: Draw, early_exit: bool = True) -> tuple[dict[str, Tensor], Tensor]:
    leaf = photos.clone().requires_grad_()
    features = surrogate(leaf, surrogate.encode_text([PROMPT]), draw, early_exit)
    sum(value.square().mean() for value in features.values()).backward()
    assert leaf.grad is not None
    return features, leaf.grad


def test_the_first_step_gets_what_the_pipeline_gives_its_denoiser(
    family: Family, surrogate: Surrogate, pipeline: DiffusionPipeline, photos: Tensor
) -> None:
    theirs = record(getattr(pipeline, family.denoiser), lambda: family.call(pipeline, photos[0], 3))
    text, draw = surrogate.encode_text([PROMPT]), first_draw(family, surrogate, 3)
    mine = record(surrogate.denoiser_at(draw.timestep), lambda: surrogate(photos[:1], text, draw))
    assert_same(family, mine, theirs)


def test_later_steps_get_what_the_pipeline_gives_its_denoiser(
    family: Family, surrogate: Surrogate, pipeline: DiffusionPipeline, photos: Tensor
) -> None:
    theirs = record(getattr(pipeline, family.denoiser), lambda: family.call(pipeline, photos[0], 3), skip=1)
    text = surrogate.encode_text([PROMPT])
    mine = record(surrogate.denoiser, lambda: surrogate.animate(photos[:1], text, 3), skip=1)
    assert_same(family, mine, theirs)


def test_animate_equals_the_pipeline_and_every_position_has_noise_of_its_own(
    family: Family, surrogate: Surrogate, pipeline: DiffusionPipeline, photos: Tensor
) -> None:
    clips = surrogate.animate(photos[:1].expand(2, -1, -1, -1), surrogate.encode_text([PROMPT]), seed=11)
    assert clips.shape == (2, family.num_frames, 3, family.height, family.width)
    share = max(3e-4, *family.rounding.values(), 6e-3 if family.in_bytes else 0)  # a byte is 1/255
    assert_close(clips[:1], family.call(pipeline, photos[0], 11), share)
    assert (clips[0] - clips[1]).abs().max() > 1e-3


def test_later_steps_start_from_a_still_clip_with_noise_as_the_scheduler_adds_it(
    family: Family, surrogate: Surrogate, photos: Tensor
) -> None:
    if family.clip_of_photo is None:
        pytest.skip("see the family's own test")
    scheduler = surrogate._schedule(STEPS)
    condition = surrogate.condition(photos.requires_grad_())
    for step in range(1, STEPS):
        draw = draw_at(surrogate, step)
        clip = family.clip_of_photo(condition["latents"]).detach().expand_as(draw.noise)
        times = scheduler.timesteps[step].expand(2)
        theirs = (
            scheduler.scale_noise(clip, times, draw.noise)
            if hasattr(scheduler, "scale_noise")
            else scheduler.add_noise(clip, draw.noise, times)
        )
        if hasattr(scheduler, "scale_model_input"):
            scheduler._step_index = None
            theirs = scheduler.scale_model_input(theirs, scheduler.timesteps[step])
        noisy = surrogate.noisy_latents(condition, draw)
        assert_close(noisy, theirs)
        assert not noisy.requires_grad


def test_a_batch_equals_its_members(surrogate: Surrogate, photos: Tensor) -> None:
    text = surrogate.encode_text([PROMPT, "she waves"])
    draw = draw_at(surrogate, STEPS - 1)
    with torch.no_grad():
        together = surrogate(photos, text, draw)
        for i in range(2):
            image_noise = None if draw.image_noise is None else draw.image_noise[i : i + 1]
            own = Draw(draw.step, draw.timestep, draw.sigma, draw.noise[i : i + 1], image_noise)
            alone = surrogate(photos[i : i + 1], {key: value[i : i + 1] for key, value in text.items()}, own)
            for tap, value in alone.items():
                assert_close(together[tap][i : i + 1], value)


def test_the_gradient_reaches_every_pixel_also_black_and_white_ones_and_no_weight(surrogate: Surrogate, photos: Tensor) -> None:
    photos[:, :, :8], photos[:, :, -8:] = 0, 1
    _, slope = gradient(surrogate, photos, draw_at(surrogate, 0))
    assert slope.isfinite().all()
    assert (slope != 0).all()
    assert not any(p.requires_grad or p.grad is not None for p in surrogate.parameters())
    assert not any(module.training for module in surrogate.train().modules())


def test_early_exit_changes_no_bit(surrogate: Surrogate, photos: Tensor) -> None:
    draw = draw_at(surrogate, STEPS - 1)
    stopped, stopped_slope = gradient(surrogate, photos, draw)
    full, full_slope = gradient(surrogate, photos, draw, early_exit=False)
    assert all(torch.equal(stopped[tap], full[tap]) for tap in full)
    assert torch.equal(stopped_slope, full_slope)


def test_every_step_of_the_schedule_gives_finite_features_photo_by_photo(family: Family, surrogate: Surrogate, photos: Tensor) -> None:
    text = surrogate.encode_text([PROMPT])
    for step in range(STEPS):
        draw = draw_at(surrogate, step)
        with torch.no_grad():
            features = surrogate(photos, text, draw)
        for value in features.values():
            assert len(value) == 2
            assert value.dtype == torch.float32
            assert value.isfinite().all()
            assert value.ndim != 3 or family.name == "framepack" or value.shape[1] % draw.frames == 0  # its tokens hold a history too


def test_noise_shares_fall_from_all_to_little(family: Family, surrogate: Surrogate) -> None:
    assert len(surrogate.sigmas) == STEPS
    assert surrogate.sigmas == sorted(surrogate.sigmas, reverse=True)
    assert surrogate.sigmas[0] > family.min_first_sigma
    assert surrogate.sigmas[-1] >= 0


def test_decoded_is_the_photo_through_the_autoencoder_and_needs_no_denoiser(
    family: Family, surrogate: Surrogate, pipeline: DiffusionPipeline, photos: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("the denoiser ran")

    text, draw = surrogate.encode_text([PROMPT]), draw_at(surrogate, 0)
    monkeypatch.setattr(surrogate.denoiser, "forward", fail)
    decoded = surrogate.with_taps(["decoded"])(photos.requires_grad_(), text, draw)["decoded"]
    with torch.no_grad():
        expected = (family.through_vae(pipeline.vae, photos, draw) / 2 + 0.5).clamp(0, 1)
    assert_close(decoded, expected)
    decoded.square().sum().backward()  # type: ignore[no-untyped-call]
    assert photos.grad is not None
    assert (photos.grad != 0).float().mean() > 0.9


def test_another_pipeline_with_the_same_parts_is_taken_for_this_one(
    family: Family, surrogate: Surrogate, photos: Tensor, tmp_path: Path
) -> None:
    if family.other_name is None:
        pytest.skip("public checkpoints name this pipeline")
    folder = family.write(tmp_path)
    edit_json(folder / "model_index.json", _class_name=family.other_name)
    other = family.surrogate(folder)
    assert type(other.pipeline).__name__ == family.other_name
    text, draw = surrogate.encode_text([PROMPT]), draw_at(surrogate, 0)
    with torch.no_grad():
        expected = surrogate(photos, text, draw)
        features = other(photos, other.encode_text([PROMPT]), draw)
    assert all(torch.equal(features[tap], value) for tap, value in expected.items())


def test_prompts_are_encoded_where_their_encoder_is_and_encoders_are_frozen_and_dropped(
    family: Family, folder: Path, surrogate: Surrogate
) -> None:
    other = family.surrogate(folder)
    encoders = [getattr(other.pipeline, name) for name in other.text_encoders()] if family.has_prompt else []
    assert not any(p.requires_grad for part in encoders for p in part.parameters())
    assert not any(module.training for part in encoders for module in part.modules())
    other.to("meta")  # as to an accelerator: the text encoder stays behind
    assert {value.device.type for value in other.encode_text([PROMPT]).values()} <= {"meta"}
    expected = surrogate.encode_text([PROMPT])
    for name, value in other.texts[PROMPT].items() if family.has_prompt else ():  # what was encoded, before it followed the denoiser
        assert_close(value.unsqueeze(0), expected[name])
    other.drop_text_encoder()
    assert all(getattr(other.pipeline, name) is None for name in (other.text_encoders() if family.has_prompt else ()))
    assert other.encode_text([PROMPT]).keys() == expected.keys()
    if family.has_prompt:
        with pytest.raises(UsageError, match="the text encoder was dropped before the prompt 'she waves' was encoded"):
            other.encode_text(["she waves"])


# ---------------------------------------------------------------------------------------------------- memory and time
def test_features_only_gives_the_same_bits_from_fewer_weights(family: Family, folder: Path, surrogate: Surrogate, photos: Tensor) -> None:
    draw = draw_at(surrogate, STEPS - 1)
    full, full_slope = gradient(surrogate.with_taps(family.taps[:1]), photos, draw)
    small = family.surrogate(folder, taps=family.taps[:1], prompts=[PROMPT], features_only=True)
    features, slope = gradient(small, photos, draw)
    assert all(torch.equal(features[tap], full[tap]) for tap in full)
    assert torch.equal(slope, full_slope)
    size = [sum(p.numel() for p in each.denoiser.parameters()) for each in (small, surrogate)]
    assert size[0] < size[1] or not surrogate.block_lists
    assert small.vae.decoder is None
    with pytest.raises(UsageError, match="features only"):
        small.animate(photos, small.encode_text([PROMPT]), 0)
    with pytest.raises(UsageError, match="the decoder was dropped"):
        small.with_taps(["decoded"])


def test_a_second_run_loads_no_text_encoder(family: Family, folder: Path, surrogate: Surrogate) -> None:
    prompts, encoder = [PROMPT, "she waves"], surrogate.text_parts[0]
    expected = surrogate.encode_text(prompts)
    first = family.surrogate(folder, prompts=prompts)
    with pytest.MonkeyPatch.context() as patch:
        calls: list[Any] = []
        pipeline_class = type(surrogate.pipeline)
        load = pipeline_class.from_pretrained
        patch.setattr(pipeline_class, "from_pretrained", lambda *args, **options: (calls.append(options), load(*args, **options))[1])
        again = family.surrogate(folder, prompts=prompts)
    if family.has_prompt:
        assert calls[0][encoder] is None
    for each in (first, again):
        assert getattr(each.pipeline, encoder, None) is None
        text = each.encode_text(prompts)
        assert text.keys() == expected.keys()
        for name, value in expected.items():
            assert_close(text[name], value)


def test_checkpointing_keeps_less_for_the_backward_pass_and_gives_the_same_gradient(
    family: Family, folder: Path, surrogate: Surrogate, photos: Tensor
) -> None:
    draw = draw_at(surrogate, STEPS - 1)
    bytes_alive, slopes = [], []
    for each in (surrogate, family.surrogate(folder, checkpointing=True)):
        leaf, text = photos.clone().requires_grad_(), each.encode_text([PROMPT])
        parts = (each, *(part for part in each.pipeline.components.values() if isinstance(part, torch.nn.Module)))
        with LivePeak([p for part in parts for p in part.parameters()]) as live:
            features = each(leaf, text, draw)
            bytes_alive.append(live.now)
        slopes += torch.autograd.grad(sum(value.square().mean() for value in features.values()), leaf)
        del features
    assert_close(slopes[1], slopes[0])
    assert bytes_alive[1] < bytes_alive[0]


def test_prompts_encoded_in_half_precision_are_not_those_of_single(family: Family, folder: Path, surrogate: Surrogate) -> None:
    if not family.has_prompt:
        pytest.skip("no prompts")
    prompt = ["a cat sleeps"]
    family.surrogate(folder, prompts=prompt, dtype="bfloat16")
    text, expected = family.surrogate(folder, prompts=prompt).encode_text(prompt), surrogate.encode_text(prompt)
    for name, value in expected.items():
        assert_close(text[name], value)


def test_half_precision_is_for_the_denoiser_and_close(family: Family, folder: Path, surrogate: Surrogate, photos: Tensor) -> None:
    draw = draw_at(surrogate, STEPS - 1)
    half = family.surrogate(folder, dtype="bfloat16")
    assert half.denoiser.dtype == torch.bfloat16
    assert {p.dtype for p in half.vae.parameters()} == {torch.float32}
    expected, slope = gradient(surrogate, photos, draw)
    features, rough = gradient(half, photos, draw)
    for tap, value in expected.items():
        assert features[tap].dtype == torch.float32
        assert (features[tap] - value).norm() < family.half * value.norm()
    assert torch.cosine_similarity(rough.flatten(), slope.flatten(), dim=0) > 0.9
    with torch.no_grad():
        half.animate(photos[:1], half.encode_text([PROMPT]), 0, steps=2)


# ---------------------------------------------------------------------------------------------------- refusals
REFUSED_SIZES = (
    ("cogvideox-1.0", (48, 48, 9), r"height × width is 48 × 48; this CogVideoX has learned positions for 32 × 48 only; .* CogVideoX 1\.5"),
    ("cogvideox-1.0", (32, 48, 17), r"num_frames is 17; this CogVideoX has learned positions for 9 frames only, .* take 9, or CogVideoX 1"),
    ("cogvideox-1.5", (40, 48, 9), "height × width is 40 × 48; this CogVideoX needs multiples of 16 × 16"),
    ("cogvideox-1.5", (32, 0, 9), "height × width is 32 × 0; this CogVideoX needs multiples of 16 × 16"),
    ("cogvideox-1.5", (336, 320, 9), "height × width is 336 × 320; this CogVideoX has positions up to 320 × 320; take a smaller size"),
    ("cogvideox-1.5", (32, 48, 13), r"num_frames is 13; this CogVideoX needs 1 \+ a multiple of 8: 9, 17, …"),
    ("cogvideox-1.5", (32, 48, 0), "num_frames is 0"),
    ("cosmos-2", (24, 48, 9), "height × width is 24 × 48; this Cosmos-Predict2 needs multiples of 16 × 16"),
    ("cosmos-2", (32, 48, 8), r"num_frames is 8; this Cosmos-Predict2 needs 1 \+ a multiple of 4"),
    ("cosmos-2", (32, 48, 1), "num_frames is 1; this Cosmos-Predict2 needs .*: 5, 9, …"),
    ("framepack", (24, 32, 73), "height × width is 24 × 32; this FramePack needs multiples of 16 × 16"),
    ("framepack", (16, 32, 33), r"num_frames is 33; this FramePack needs 1 \+ a multiple of 36: 37, 73, …"),
    ("framepack", (16, 32, 1), "num_frames is 1; "),
    ("framepack", (16, 32, -35), "num_frames is -35; "),
    ("hunyuan-video-1.5", (40, 64, 9), "height × width is 40 × 64; .* give one that it does not change, such as 40 × 56"),
    ("hunyuan-video-1.5", (96, 96, 9), "height × width is 96 × 96; .* such as 48 × 48"),
    ("hunyuan-video-1.5", (0, 56, 9), "height × width is 0 × 56; .* such as 24 × 96"),
    ("hunyuan-video-1.5", (40, 56, 8), r"num_frames is 8; this HunyuanVideo 1.5 needs 1 \+ a multiple of 4: 5, 9, …"),
    ("hunyuan-video-1.5", (40, 56, -3), "num_frames is -3"),
    ("hunyuan-video-concat", (40, 64, 9), "height × width is 40 × 64; this HunyuanVideo needs multiples of 16 × 16"),
    ("hunyuan-video-replace", (48, 8, 9), "height × width is 48 × 8"),
    ("hunyuan-video-concat", (48, 64, 8), r"num_frames is 8; this HunyuanVideo needs 1 \+ a multiple of 4: 5, 9, …"),
    ("hunyuan-video-replace", (48, 64, 1), "num_frames is 1"),
    ("i2vgen-xl", (20, 48, 3), "height × width is 20 × 48; this I2VGen-XL needs multiples of 8 × 8"),
    ("i2vgen-xl", (32, 48, 0), "num_frames is 0"),
    ("kandinsky-5", (40, 48, 17), "height × width is 40 × 48; this Kandinsky 5 needs multiples of 16 × 16"),
    ("kandinsky-5", (32, 48, 18), r"num_frames is 18; this Kandinsky 5 needs 1 \+ a multiple of 4: 17, 21, …"),
    ("kandinsky-5", (32, 48, 13), "num_frames is 13; this Kandinsky 5 needs .*: 17, 21"),
    ("ltx", (48, 64, 9), "height × width is 48 × 64; this LTX needs multiples of 32 × 32"),
    ("ltx", (0, 64, 9), "multiples of 32 × 32"),
    ("ltx", (32, 64, 8), r"num_frames is 8; this LTX needs 1 \+ a multiple of 4: 5, 9, …"),
    ("ltx-2", (48, 64, 9), "height × width is 48 × 64; this LTX needs multiples of 32 × 32"),
    ("ltx-2", (32, 64, 8), r"num_frames is 8; this LTX needs 1 \+ a multiple of 4"),
    ("sana-video", (48, 64, 9), "height × width is 48 × 64; this SANA-Video needs multiples of 32 × 32"),
    ("sana-video", (32, 64, 8), r"num_frames is 8; this SANA-Video needs 1 \+ a multiple of 4: 5, 9, …"),
    ("sana-video", (32, 64, 1), "num_frames is 1"),
    ("skyreels-v2-df", (24, 48, 9), "height × width is 24 × 48; this SkyReels-V2 needs multiples of 16 × 16"),
    ("skyreels-v2-df", (32, 48, 8), r"num_frames is 8; this SkyReels-V2 needs 1 \+ a multiple of 4"),
    ("skyreels-v2-df", (32, 48, 1), "num_frames is 1; this SkyReels-V2 needs .*: 5, 9, …"),
    ("svd", (20, 24, 3), "height × width is 20 × 24; this SVD needs multiples of 8 × 8"),
    ("svd", (16, 24, 0), "num_frames is 0; this SVD needs at least 1"),
    ("wan-2.2-5b", (40, 32, 5), "height × width is 40 × 32; this Wan needs multiples of 16 × 16"),
    ("wan-2.2-5b", (32, 32, 4), r"num_frames is 4; this Wan needs 1 \+ a multiple of 2"),
    ("wan-2.1", (32, 8, 9), "multiples of 16 × 16"),
    ("wan-2.1", (32, 32, 7), r"num_frames is 7; this Wan needs 1 \+ a multiple of 4"),
    ("skyreels-v2-i2v", (32, 32, 0), "num_frames is 0"),
)


@pytest.mark.parametrize(("name", "size", "message"), REFUSED_SIZES)
def test_sizes_that_the_pipeline_refuses_or_rounds_are_refused(
    tiny: TinyModels, name: str, size: tuple[int, int, int], message: str
) -> None:
    height, width, num_frames = size
    with pytest.raises(UsageError, match=message):
        FAMILIES[name].surrogate(tiny.folder(name), height=height, width=width, num_frames=num_frames)
