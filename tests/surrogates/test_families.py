"""Every family against the real pipeline's own call, and the promises of the contract: the same tests for all.

A new family adds its row to `FAMILIES`; what is peculiar to it stands in a test file of its own.
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
from tests.surrogates.family import PROMPT, STEPS, Family
from tests.surrogates.oracle import record
from tests.tiny import FRAMES as WAN_FRAMES
from tests.tiny import tiny_world
from tests.tiny.cogvideox import FRAMES as COG_FRAMES
from tests.tiny.cogvideox import WORDS as COG_WORDS
from tests.tiny.cogvideox import tiny_cogvideox, tiny_cogvideox_15
from tests.tiny.cosmos2 import FRAMES as COSMOS_FRAMES
from tests.tiny.cosmos2 import TAPS as COSMOS_TAPS
from tests.tiny.cosmos2 import nothing_checked, tiny_cosmos2
from tests.tiny.framepack import ASKED as FRAMEPACK_ASKED
from tests.tiny.framepack import FRAMES as FRAMEPACK_FRAMES
from tests.tiny.framepack import TAPS as FRAMEPACK_TAPS
from tests.tiny.framepack import tiny_framepack
from tests.tiny.hunyuan_video import FRAMES as HUNYUAN_FRAMES
from tests.tiny.hunyuan_video import HEIGHT as HUNYUAN_HEIGHT
from tests.tiny.hunyuan_video import TAPS as HUNYUAN_TAPS
from tests.tiny.hunyuan_video import WIDTH as HUNYUAN_WIDTH
from tests.tiny.hunyuan_video import tiny_hunyuan_concat, tiny_hunyuan_replace, tokenizer_apart
from tests.tiny.hunyuan_video15 import FRAMES as HUNYUAN15_FRAMES
from tests.tiny.hunyuan_video15 import HEIGHT as HUNYUAN15_HEIGHT
from tests.tiny.hunyuan_video15 import TAPS as HUNYUAN15_TAPS
from tests.tiny.hunyuan_video15 import WIDTH as HUNYUAN15_WIDTH
from tests.tiny.hunyuan_video15 import tiny_hunyuan_video15, tiny_hunyuan_video15_meanflow, unguided
from tests.tiny.i2vgen_xl import FRAMES as I2VGEN_FRAMES
from tests.tiny.i2vgen_xl import text_encoder_as_the_pipeline_expects_it, tiny_i2vgen_xl
from tests.tiny.kandinsky5 import FRAMES as KANDINSKY_FRAMES
from tests.tiny.kandinsky5 import TAPS as KANDINSKY_TAPS
from tests.tiny.kandinsky5 import tiny_kandinsky5
from tests.tiny.ltx import FRAMES as LTX_FRAMES
from tests.tiny.ltx import HEIGHT as LTX_HEIGHT
from tests.tiny.ltx import TAPS as LTX_TAPS
from tests.tiny.ltx import WIDTH as LTX_WIDTH
from tests.tiny.ltx import noise_of_clip_and_photo, tiny_ltx, tiny_ltx_condition, tiny_ltx_timed
from tests.tiny.ltx2 import FRAMES as LTX2_FRAMES
from tests.tiny.ltx2 import HEIGHT as LTX2_HEIGHT
from tests.tiny.ltx2 import TAPS as LTX2_TAPS
from tests.tiny.ltx2 import UNGUIDED as LTX2_UNGUIDED
from tests.tiny.ltx2 import WIDTH as LTX2_WIDTH
from tests.tiny.ltx2 import noise_of_video_and_sound, tiny_ltx2, tiny_ltx23
from tests.tiny.sana_video import FRAMES as SANA_FRAMES
from tests.tiny.sana_video import HEIGHT as SANA_HEIGHT
from tests.tiny.sana_video import TAPS as SANA_TAPS
from tests.tiny.sana_video import WIDTH as SANA_WIDTH
from tests.tiny.sana_video import tiny_sana_480p, tiny_sana_720p
from tests.tiny.skyreels_df import tiny_skyreels_df
from tests.tiny.unet import FRAMES as SVD_FRAMES
from tests.tiny.unet import tiny_unet_world
from tests.tiny.wan import FRAMES as CAUSAL_FRAMES
from tests.tiny.wan import tiny_skyreels_v2, tiny_wan21, tiny_wan22_a14b

FAMILIES: tuple[Family, ...] = (
    Family(
        "cogvideox-1.0",
        tiny_cogvideox,
        ("transformer_blocks.0", "transformer_blocks.1"),
        COG_FRAMES,
        options={"guidance_scale": 1.0, "max_sequence_length": COG_WORDS},
        samples=True,
    ),
    Family(
        "cogvideox-1.5",
        tiny_cogvideox_15,
        ("transformer_blocks.0", "transformer_blocks.1"),
        COG_FRAMES,
        options={"guidance_scale": 1.0, "max_sequence_length": COG_WORDS},
        samples=True,
    ),
    Family(
        "cosmos-2",
        tiny_cosmos2,
        COSMOS_TAPS,
        COSMOS_FRAMES,
        options={"guidance_scale": 1.0},
        samples=True,
        noisiest=0.98,
        in_bytes=True,
        apart=nothing_checked,
    ),
    Family(
        "hunyuan-video-concat",
        tiny_hunyuan_concat,
        HUNYUAN_TAPS,
        HUNYUAN_FRAMES,
        height=HUNYUAN_HEIGHT,
        width=HUNYUAN_WIDTH,
        dropped=4,
        apart=tokenizer_apart,
    ),
    Family(
        "hunyuan-video-replace",
        tiny_hunyuan_replace,
        HUNYUAN_TAPS,
        HUNYUAN_FRAMES,
        height=HUNYUAN_HEIGHT,
        width=HUNYUAN_WIDTH,
        apart=tokenizer_apart,
    ),
    Family(
        "framepack",
        tiny_framepack,
        FRAMEPACK_TAPS,
        FRAMEPACK_FRAMES,
        options={"guidance_scale": 6.0},
        samples=True,
        dropped=FRAMEPACK_ASKED - FRAMEPACK_FRAMES,
        half=0.15,  # the guidance that the denoiser is told, 6000, is 6016 in half precision, in the pipeline too
        apart=tokenizer_apart,
    ),
    Family(
        "hunyuan-video-1.5",
        tiny_hunyuan_video15,
        HUNYUAN15_TAPS,
        HUNYUAN15_FRAMES,
        height=HUNYUAN15_HEIGHT,
        width=HUNYUAN15_WIDTH,
        sized=False,
        rounded={"image_embeds": 0.04, "hidden_states": 5e-5},
        apart=unguided,
    ),
    Family(
        "hunyuan-video-1.5-meanflow",
        tiny_hunyuan_video15_meanflow,
        HUNYUAN15_TAPS,
        HUNYUAN15_FRAMES,
        height=HUNYUAN15_HEIGHT,
        width=HUNYUAN15_WIDTH,
        sized=False,
        rounded={"image_embeds": 0.05, "hidden_states": 5e-5},
        apart=unguided,
    ),
    Family(
        "i2vgen-xl",
        tiny_i2vgen_xl,
        ("down_blocks.0", "mid_block"),
        I2VGEN_FRAMES,
        denoiser="unet",
        options={"guidance_scale": 1.0},
        samples=True,
        rounded={"image_embeddings": 1e-2},
        noisiest=0.7,
        apart=text_encoder_as_the_pipeline_expects_it,
    ),
    Family("kandinsky-5", tiny_kandinsky5, KANDINSKY_TAPS, KANDINSKY_FRAMES, options={"guidance_scale": 1.0}, samples=True),
    Family("ltx", tiny_ltx, LTX_TAPS, LTX_FRAMES, height=LTX_HEIGHT, width=LTX_WIDTH, options={"guidance_scale": 1.0}, samples=True),
    Family(
        "ltx-0.9.1", tiny_ltx_timed, LTX_TAPS, LTX_FRAMES, height=LTX_HEIGHT, width=LTX_WIDTH, options={"guidance_scale": 1.0}, samples=True
    ),
    Family(
        "ltx-condition",
        tiny_ltx_condition,
        LTX_TAPS,
        LTX_FRAMES,
        height=LTX_HEIGHT,
        width=LTX_WIDTH,
        options={"guidance_scale": 1.0},
        samples=True,
        first_noise=noise_of_clip_and_photo,
    ),
    Family("wan-2.2-5b", tiny_world, ("blocks.1", "blocks.2"), WAN_FRAMES, options={"guidance_scale": 1.0, "max_sequence_length": 32}),
    Family(
        "wan-2.1",
        tiny_wan21,
        ("blocks.1", "blocks.2"),
        CAUSAL_FRAMES,
        options={"guidance_scale": 1.0},
        rounded={"encoder_hidden_states_image": 0.02, "hidden_states": 3e-4},
    ),
    Family("wan-2.2-a14b", tiny_wan22_a14b, ("blocks.1", "blocks.2"), CAUSAL_FRAMES, options={"guidance_scale": 1.0}),
    Family(
        "skyreels-v2-i2v",
        tiny_skyreels_v2,
        ("blocks.1", "blocks.2"),
        CAUSAL_FRAMES,
        options={"guidance_scale": 1.0},
        rounded={"encoder_hidden_states_image": 0.015, "hidden_states": 2e-4},
    ),
    Family(
        "ltx-2",
        tiny_ltx2,
        LTX2_TAPS,
        LTX2_FRAMES,
        height=LTX2_HEIGHT,
        width=LTX2_WIDTH,
        options=LTX2_UNGUIDED,
        first_noise=noise_of_video_and_sound,
    ),
    Family(
        "ltx-2.3",
        tiny_ltx23,
        LTX2_TAPS,
        LTX2_FRAMES,
        height=LTX2_HEIGHT,
        width=LTX2_WIDTH,
        options=LTX2_UNGUIDED,
        first_noise=noise_of_video_and_sound,
    ),
    Family(
        "sana-video",
        tiny_sana_480p,
        SANA_TAPS,
        SANA_FRAMES,
        height=SANA_HEIGHT,
        width=SANA_WIDTH,
        options={"guidance_scale": 1.0, "use_resolution_binning": False},
        length="frames",
    ),
    Family(
        "sana-video-720p",
        tiny_sana_720p,
        SANA_TAPS,
        SANA_FRAMES,
        height=SANA_HEIGHT,
        width=SANA_WIDTH,
        options={"guidance_scale": 1.0, "use_resolution_binning": False},
        length="frames",
    ),
    Family("skyreels-v2-df", tiny_skyreels_df, ("blocks.1", "blocks.2"), CAUSAL_FRAMES, options={"guidance_scale": 1.0}),
    Family(
        "svd",
        tiny_unet_world,
        ("down_blocks.0", "mid_block"),
        SVD_FRAMES,
        denoiser="unet",
        options={"min_guidance_scale": 1.0, "max_guidance_scale": 1.0},
        prompted=False,
        rounded={"encoder_hidden_states": 1e-5},
    ),
)


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda family: family.name)
def family(request: pytest.FixtureRequest) -> Family:
    found: Family = request.param
    return found


@pytest.fixture(scope="module")
def folder(family: Family, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return family.write(tmp_path_factory.mktemp(family.name))


@pytest.fixture(scope="module")
def surrogate(family: Family, folder: Path) -> Surrogate:
    return family.surrogate(folder)


@pytest.fixture(scope="module")
def pipeline(family: Family, folder: Path) -> DiffusionPipeline:
    return family.load(folder)


@pytest.fixture(scope="module")
def photos(family: Family) -> Tensor:
    return family.photos()


def assert_same(family: Family, mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Every argument that the pipeline gives, and no other but those at the denoiser's own default.

    `return_dict` only says how the denoiser wraps its answer.
    """
    mine, theirs = ({name: value for name, value in given.items() if name != "return_dict"} for given in (mine, theirs))
    assert theirs.keys() - mine.keys() == set()
    assert {name for name in mine.keys() - theirs.keys() if mine[name] is not None} == set()
    for name, value in theirs.items():
        for mine_part, their_part in zip(parts(mine[name]), parts(value), strict=True):
            if isinstance(their_part, Tensor):
                atol = family.rounded.get(name, 1e-5)
                torch.testing.assert_close(mine_part.to(their_part.dtype), their_part, atol=atol, rtol=0, msg=lambda m, n=name: f"{n}: {m}")
            else:
                assert mine_part == their_part, name


def parts(value: Any) -> list[Any]:
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


def test_animate_equals_the_pipeline(family: Family, surrogate: Surrogate, pipeline: DiffusionPipeline, photos: Tensor) -> None:
    clips = surrogate.animate(photos[:1], surrogate.encode_text([PROMPT]), seed=11)
    assert clips.shape == (1, family.num_frames, 3, family.height, family.width)
    loose = max(1e-4, *family.rounded.values(), (1 / 255 if family.in_bytes else 0) + 1e-4)
    torch.testing.assert_close(clips, family.call(pipeline, photos[0], 11), atol=loose, rtol=0)


def test_a_batch_equals_its_members(surrogate: Surrogate, photos: Tensor) -> None:
    text = surrogate.encode_text([PROMPT, "she waves"])
    draw = surrogate.draw(2, torch.Generator().manual_seed(7))
    with torch.no_grad():
        together = surrogate(photos, text, draw)
        for i in range(2):
            image_noise = None if draw.image_noise is None else draw.image_noise[i : i + 1]
            own = Draw(draw.step, draw.timestep, draw.sigma, draw.noise[i : i + 1], image_noise)
            alone = surrogate(photos[i : i + 1], {key: value[i : i + 1] for key, value in text.items()}, own)
            for tap, value in alone.items():
                torch.testing.assert_close(together[tap][i : i + 1], value, atol=1e-4, rtol=1e-4)


def test_the_gradient_reaches_the_photo_also_where_it_is_black_or_white(family: Family, surrogate: Surrogate, photos: Tensor) -> None:
    saturated = photos.clone()
    saturated[:, :, :8], saturated[:, :, -8:] = 0, 1
    _, slope = gradient(surrogate, saturated, surrogate.draw(2, torch.Generator().manual_seed(7)))
    assert slope.isfinite().all()
    assert (slope != 0).float().mean() >= family.shown


def test_nothing_learns_and_nothing_changes_its_mode(surrogate: Surrogate, photos: Tensor) -> None:
    gradient(surrogate, photos, surrogate.draw(2, torch.Generator().manual_seed(7)))
    assert not any(p.requires_grad or p.grad is not None for p in surrogate.parameters())
    assert not any(module.training for module in surrogate.train().modules())


def test_early_exit_changes_no_bit(surrogate: Surrogate, photos: Tensor) -> None:
    draw = surrogate.draw(2, torch.Generator().manual_seed(7))
    quick, quick_slope = gradient(surrogate, photos, draw)
    full, full_slope = gradient(surrogate, photos, draw, early_exit=False)
    assert all(torch.equal(quick[tap], full[tap]) for tap in full)
    assert torch.equal(quick_slope, full_slope)


def test_every_step_of_the_schedule_gives_finite_features_photo_by_photo(family: Family, surrogate: Surrogate, photos: Tensor) -> None:
    text = surrogate.encode_text([PROMPT])
    drawn = surrogate.draw(2, torch.Generator().manual_seed(7))
    for step in range(STEPS):
        draw = Draw(step, surrogate.timesteps[step], surrogate.sigmas[step], drawn.noise, drawn.image_noise)
        with torch.no_grad():
            features = surrogate(photos, text, draw)
        for value in features.values():
            assert len(value) == 2
            assert value.dtype == torch.float32
            assert value.isfinite().all()
            assert value.ndim != 3 or family.name == "framepack" or value.shape[1] % drawn.frames == 0  # its tokens hold a history too


def test_noise_shares_fall_from_all_to_little(family: Family, surrogate: Surrogate) -> None:
    assert len(surrogate.sigmas) == STEPS
    assert surrogate.sigmas == sorted(surrogate.sigmas, reverse=True)
    assert surrogate.sigmas[0] > family.noisiest
    assert surrogate.sigmas[-1] >= 0


def test_decoded_is_the_photo_through_the_autoencoder(family: Family, surrogate: Surrogate, photos: Tensor) -> None:
    leaf = photos.clone().requires_grad_()
    text, draw = surrogate.encode_text([PROMPT]), surrogate.draw(2, torch.Generator().manual_seed(7))
    decoded = surrogate.with_taps(["decoded"])(leaf, text, draw)["decoded"]
    assert decoded.shape == photos.shape
    assert decoded.min() >= 0
    assert decoded.max() <= 1
    decoded.square().sum().backward()  # type: ignore[no-untyped-call]
    assert leaf.grad is not None
    assert (leaf.grad != 0).float().mean() > 0.9


def test_prompts_are_encoded_where_their_encoder_is(family: Family, folder: Path, surrogate: Surrogate) -> None:
    moved = family.surrogate(folder)
    moved.to("meta")  # as to an accelerator: the text encoder stays behind
    assert {value.device.type for value in moved.encode_text([PROMPT]).values()} <= {"meta"}
    expected = surrogate.encode_text([PROMPT])
    for name, value in moved._texts.get(PROMPT, {}).items():  # what was encoded, before it followed the denoiser
        torch.testing.assert_close(value.unsqueeze(0), expected[name], atol=1e-5, rtol=0)


# ---------------------------------------------------------------------------------------------------- thrift
def loaded(family: Family, folder: Path, taps: tuple[str, ...], **options: Any) -> Surrogate:
    return Surrogate.from_pretrained(str(folder), list(taps), family.height, family.width, family.num_frames, STEPS, **options)


def test_features_only_are_the_same_bits_from_less(family: Family, folder: Path, surrogate: Surrogate, photos: Tensor) -> None:
    draw = surrogate.draw(2, torch.Generator().manual_seed(7))
    full, full_slope = gradient(surrogate.with_taps(family.taps[:1]), photos, draw)
    lean = loaded(family, folder, family.taps[:1], prompts=[PROMPT], features_only=True)
    features, slope = gradient(lean, photos, draw)
    assert all(torch.equal(features[tap], full[tap]) for tap in full)
    assert torch.equal(slope, full_slope)
    size = [sum(p.numel() for p in each.denoiser.parameters()) for each in (lean, surrogate)]
    assert size[0] < size[1] or not surrogate.block_lists
    assert lean.vae.decoder is None
    with pytest.raises(UsageError, match="loaded for features only"):
        lean.animate(photos, lean.encode_text([PROMPT]), 0)
    with pytest.raises(UsageError, match="the decoder was dropped"):
        lean.with_taps(["decoded"])


def test_a_second_run_loads_no_text_encoder(family: Family, folder: Path, surrogate: Surrogate) -> None:
    prompts, encoder = [PROMPT, "she waves"], surrogate.text_parts[0]
    expected = surrogate.encode_text(prompts)
    first = loaded(family, folder, family.taps, prompts=prompts)
    with pytest.MonkeyPatch.context() as patch:
        given: list[Any] = []
        kind = type(surrogate.pipeline)
        load = kind.from_pretrained
        patch.setattr(kind, "from_pretrained", lambda *args, **options: (given.append(options), load(*args, **options))[1])
        again = loaded(family, folder, family.taps, prompts=prompts)
    if family.prompted:
        assert given[0][encoder] is None
    for each in (first, again):
        assert getattr(each.pipeline, encoder, None) is None
        found = each.encode_text(prompts)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, atol=1e-5, rtol=0)


def test_checkpointing_changes_memory_and_nothing_else(family: Family, folder: Path, surrogate: Surrogate, photos: Tensor) -> None:
    draw = surrogate.draw(2, torch.Generator().manual_seed(7))
    thrifty = loaded(family, folder, family.taps, checkpointing=True)
    kept = []
    for each in (surrogate, thrifty):
        with LivePeak([p for part in (each, *parts_of(each)) for p in part.parameters()]) as live:
            features = each(photos.clone().requires_grad_(), each.encode_text([PROMPT]), draw)
            kept.append(live.now)
        del features
    _, slope = gradient(surrogate, photos, draw)
    _, same = gradient(thrifty, photos, draw)
    torch.testing.assert_close(same, slope, atol=1e-6 * float(slope.abs().max()), rtol=1e-4)
    assert kept[1] < kept[0]


def parts_of(surrogate: Surrogate) -> list[torch.nn.Module]:
    return [part for part in surrogate.pipeline.components.values() if isinstance(part, torch.nn.Module)]


def test_prompts_encoded_in_half_precision_are_not_those_of_single(family: Family, folder: Path, surrogate: Surrogate) -> None:
    if not family.prompted:
        return
    prompt = ["a cat sleeps"]
    loaded(family, folder, family.taps, prompts=prompt, dtype="bfloat16")
    found, expected = loaded(family, folder, family.taps, prompts=prompt).encode_text(prompt), surrogate.encode_text(prompt)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-5, rtol=0)


def test_half_precision_is_for_the_denoiser_and_close(family: Family, folder: Path, surrogate: Surrogate, photos: Tensor) -> None:
    draw = surrogate.draw(2, torch.Generator().manual_seed(7))
    half = loaded(family, folder, family.taps, dtype="bfloat16")
    assert half.denoiser.dtype == torch.bfloat16
    assert {p.dtype for p in half.vae.parameters()} == {torch.float32}
    expected, slope = gradient(surrogate, photos, draw)
    found, rough = gradient(half, photos, draw)
    for tap, value in expected.items():
        assert found[tap].dtype == torch.float32
        assert (found[tap] - value).norm() < family.half * value.norm()
    assert torch.cosine_similarity(rough.flatten(), slope.flatten(), dim=0) > 0.9
    with torch.no_grad():
        half.animate(photos[:1], half.encode_text([PROMPT]), 0, steps=2)
