"""What is peculiar to Wan 2.1, Wan 2.2 A14B and SkyReels-V2; the rest is in `test_families`."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLWan
from PIL import Image
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.surrogates import Draw, Surrogate
from anti_i2v.surrogates.families import wan_concat
from anti_i2v.surrogates.families.wan_concat import WanConcatSurrogate, shown_to_clip
from anti_i2v.surrogates.families.wan_encode import encode_in_chunks
from tests.surrogates.family import PROMPT, STEPS, Family
from tests.surrogates.oracle import record
from tests.tiny.wan import FRAMES, tiny_processor, tiny_skyreels_v2, tiny_wan21, tiny_wan22_a14b

TAPS = ("blocks.1", "blocks.2")
WAN21, A14B, SKYREELS = (
    Family(name, write, TAPS, FRAMES, options={"guidance_scale": 1.0})
    for name, write in (("wan-2.1", tiny_wan21), ("wan-2.2-a14b", tiny_wan22_a14b), ("skyreels-v2-i2v", tiny_skyreels_v2))
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {family.name: family.write(tmp_path_factory.mktemp(family.name)) for family in (WAN21, A14B, SKYREELS)}


@pytest.fixture(scope="module")
def clip_world(folders: dict[str, Path]) -> WanConcatSurrogate:
    surrogate = WAN21.surrogate(folders[WAN21.name])
    assert isinstance(surrogate, WanConcatSurrogate)
    return surrogate


@pytest.fixture(scope="module")
def expert_world(folders: dict[str, Path]) -> WanConcatSurrogate:
    surrogate = A14B.surrogate(folders[A14B.name])
    assert isinstance(surrogate, WanConcatSurrogate)
    return surrogate


@pytest.fixture(scope="module")
def photos() -> Tensor:
    return WAN21.photos()


def at(surrogate: Surrogate, step: int) -> Draw:
    noise = surrogate.draw(2, torch.Generator().manual_seed(7)).noise
    return Draw(step, surrogate.timesteps[step], surrogate.sigmas[step], noise)


def pictured(photo: Tensor) -> Image.Image:
    return Image.fromarray((photo * 255).round().byte().permute(1, 2, 0).numpy())


def low(surrogate: WanConcatSurrogate) -> torch.nn.Module:
    assert surrogate.low_noise_denoiser is not None
    return surrogate.low_noise_denoiser


# ---------------------------------------------------------------------------------------------------- the photo's two routes
@pytest.mark.parametrize("family", [WAN21, SKYREELS], ids=lambda family: family.name)
def test_only_the_rounding_of_what_clip_sees_keeps_the_denoisers_arguments_from_equality(
    folders: dict[str, Path], family: Family, photos: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    surrogate, pipeline = family.surrogate(folders[family.name]), family.load(folders[family.name])
    pixels = pipeline.image_processor(images=pictured(photos[0]), return_tensors="pt").pixel_values
    monkeypatch.setattr(wan_concat, "shown_to_clip", lambda image, processor: pixels)
    text = surrogate.encode_text([PROMPT])
    for step in range(STEPS):
        theirs = record(pipeline.transformer, lambda: family.call(pipeline, photos[0], 3), skip=step)
        mine = record(surrogate.denoiser, lambda: surrogate.animate(photos[:1], text, 3), skip=step)
        for name in ("encoder_hidden_states_image", "hidden_states"):
            torch.testing.assert_close(mine[name], theirs[name], atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(32, 48), (48, 32), (64, 64), (16, 80)])
def test_clip_is_shown_what_its_processor_makes_of_the_picture(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    processor = tiny_processor()
    photo = torch.randint(0, 256, (3, *size), generator=torch.Generator().manual_seed(5)) / 255
    theirs = processor(images=pictured(photo), return_tensors="pt").pixel_values
    steps = 255 * torch.tensor(processor.image_std).view(1, 3, 1, 1)
    off = (shown_to_clip(photo[None], processor) - theirs) * steps
    assert off.shape == (1, 3, 28, 28)
    assert off.abs().max() < 1.5  # rounded twice, by up to half a step each time
    monkeypatch.setattr(wan_concat, "unit", lambda x: (x.clamp(0, 1) * 255).round() / 255)
    off = (shown_to_clip(photo[None], processor) - theirs) * steps  # now rounded too: what is left comes from weights of 16 bits
    assert off.abs().max() < 1.01
    assert (off.abs() > 0.5).float().mean() < 0.03


def test_clip_sees_the_middle_and_the_autoencoder_all_of_the_photo(clip_world: WanConcatSurrogate, photos: Tensor) -> None:
    leaf = photos.clone().requires_grad_()
    condition = clip_world.condition(leaf)
    (seen,) = torch.autograd.grad(condition["image_embeds"].square().sum(), leaf, retain_graph=True)
    assert (seen[..., 16:32] != 0).all()
    assert (seen[..., :4] == 0).all()
    (painted,) = torch.autograd.grad(condition["latents"].square().sum(), leaf)
    assert (painted != 0).all()


def test_the_autoencoder_is_given_the_photo_and_then_grey(clip_world: WanConcatSurrogate, photos: Tensor) -> None:
    clip = torch.cat([(2 * photos - 1).unsqueeze(2), torch.zeros(2, 3, FRAMES - 1, 32, 48)], dim=2)
    vae = clip_world.pipeline.vae
    mean, std = (torch.tensor(values).view(1, -1, 1, 1, 1) for values in (vae.config.latents_mean, vae.config.latents_std))
    with torch.no_grad():
        expected = (vae.encode(clip).latent_dist.mean - mean) / std
        torch.testing.assert_close(clip_world.condition(photos)["latents"], expected, atol=1e-6, rtol=0)
    assert torch.equal(clip_world.condition(photos.clone().requires_grad_())["latents"], clip_world.condition(photos)["latents"])


def test_a_photo_that_learns_is_encoded_in_chunks(clip_world: WanConcatSurrogate, photos: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def watched(vae: AutoencoderKLWan, clip: Tensor) -> Tensor:
        asked.append(clip.shape[2])
        return encode_in_chunks(vae, clip)

    monkeypatch.setattr(wan_concat, "encode_in_chunks", watched)
    clip_world.condition(photos)
    with torch.no_grad():
        clip_world.condition(photos.clone().requires_grad_())
    assert asked == []
    clip_world.condition(photos.clone().requires_grad_())
    assert asked == [FRAMES]


def test_the_mask_marks_the_photos_latent_frame(clip_world: WanConcatSurrogate, photos: Tensor) -> None:
    draw = at(clip_world, 0)
    with torch.no_grad():
        condition = clip_world.condition(photos)
        read = clip_world.inputs(condition, clip_world.encode_text([PROMPT] * 2), draw.noise, draw.timestep)["hidden_states"]
    assert isinstance(read, Tensor)
    assert read.shape == (2, 4 + 4 + 4, 3, 4, 6)
    assert (read[:, 4:8, 0] == 1).all()
    assert (read[:, 4:8, 1:] == 0).all()
    assert torch.equal(read[:, :4], draw.noise)
    assert torch.equal(read[:, 8:], condition["latents"])


def test_decoded_is_the_photos_latent_frame_alone(clip_world: WanConcatSurrogate, photos: Tensor) -> None:
    vae = clip_world.pipeline.vae
    with torch.no_grad():
        latents = vae.encode((2 * photos - 1).unsqueeze(2)).latent_dist.mode()  # causal: as if there were no later frames
        expected = (vae.decode(latents).sample[:, :, 0] / 2 + 0.5).clamp(0, 1)
        mine = clip_world.with_taps(["decoded"])(photos, clip_world.encode_text([PROMPT]), at(clip_world, 0))["decoded"]
    torch.testing.assert_close(mine, expected, atol=1e-5, rtol=0)


# ---------------------------------------------------------------------------------------------------- steps and text
@pytest.mark.parametrize("step", range(1, STEPS))
def test_later_steps_start_from_a_still_clip_noised_by_the_scheduler(clip_world: WanConcatSurrogate, photos: Tensor, step: int) -> None:
    scheduler, draw = copy.deepcopy(clip_world.pipeline.scheduler), at(clip_world, step)
    scheduler.set_timesteps(STEPS)
    condition = clip_world.condition(photos.clone().requires_grad_())
    still = condition["latents"][:, :, :1].expand_as(draw.noise)
    noisy = clip_world.noisy(condition, draw)
    torch.testing.assert_close(noisy, scheduler.add_noise(still, draw.noise, draw.timestep.expand(2)), atol=1e-6, rtol=0)
    assert not noisy.requires_grad


def test_the_first_step_is_pure_noise(clip_world: WanConcatSurrogate, photos: Tensor) -> None:
    draw = at(clip_world, 0)
    assert torch.equal(clip_world.noisy(clip_world.condition(photos), draw), draw.noise)


@pytest.mark.parametrize("family", [WAN21, A14B, SKYREELS], ids=lambda family: family.name)
def test_text_has_512_tokens_whatever_the_tokenizer_says(folders: dict[str, Path], family: Family) -> None:
    surrogate = family.surrogate(folders[family.name])
    assert surrogate.pipeline.tokenizer.model_max_length == 32
    assert surrogate.encode_text([PROMPT])["prompt_embeds"].shape == (1, 512, 16)


# ---------------------------------------------------------------------------------------------------- two denoisers
def test_the_second_denoiser_gets_what_the_pipeline_gives_it(
    folders: dict[str, Path], expert_world: WanConcatSurrogate, photos: Tensor
) -> None:
    pipeline = A14B.load(folders[A14B.name])
    text = expert_world.encode_text([PROMPT])
    for call in (0, 1):  # of four steps the first denoiser has two
        theirs = record(pipeline.transformer_2, lambda: A14B.call(pipeline, photos[0], 3), skip=call)
        mine = record(low(expert_world), lambda: expert_world.animate(photos[:1], text, 3), skip=call)
        assert theirs.keys() == mine.keys()
        assert int(theirs["timestep"]) == int(expert_world.timesteps[2 + call])
        torch.testing.assert_close(mine["hidden_states"], theirs["hidden_states"], atol=1e-5, rtol=0)
    assert mine["encoder_hidden_states_image"] is None


@pytest.mark.parametrize(("timestep", "first"), [(999, True), (900, True), (899, False), (0, False)])
def test_the_boundary_itself_belongs_to_the_first_denoiser(expert_world: WanConcatSurrogate, timestep: int, first: bool) -> None:
    assert (expert_world.denoiser_at(torch.tensor(timestep)) is expert_world.denoiser) is first
    assert expert_world.denoiser is expert_world.pipeline.transformer
    assert low(expert_world) is expert_world.pipeline.transformer_2


def test_a_tap_is_read_in_the_denoiser_in_charge(expert_world: WanConcatSurrogate, photos: Tensor) -> None:
    seen: list[str] = []
    parts = {"first": expert_world.denoiser, "second": low(expert_world)}
    handles = [part.register_forward_pre_hook(lambda m, args, name=name: seen.append(name)) for name, part in parts.items()]
    text = expert_world.encode_text([PROMPT])
    try:
        for step in range(STEPS):
            leaf = photos.clone().requires_grad_()
            features = expert_world(leaf, text, at(expert_world, step))
            (slope,) = torch.autograd.grad(sum(value.square().sum() for value in features.values()), leaf)
            assert (slope != 0).all()
    finally:
        for handle in handles:
            handle.remove()
    assert seen == ["first", "first", "second", "second"]


def test_the_second_denoiser_and_clip_are_frozen_and_move_along(folders: dict[str, Path]) -> None:
    experts, clip = A14B.surrogate(folders[A14B.name]).train(), WAN21.surrogate(folders[WAN21.name]).train()
    assert isinstance(experts, WanConcatSurrogate)
    for surrogate, part in ((experts, experts.pipeline.transformer_2), (clip, clip.pipeline.image_encoder)):
        assert not any(p.requires_grad for p in part.parameters())
        assert not any(module.training for module in part.modules())
        surrogate.to("meta")
        assert {p.device.type for p in part.parameters()} == {"meta"}
    assert experts.given.device.type == "meta"


def test_taps_are_checked_in_both_denoisers(tmp_path: Path, expert_world: WanConcatSurrogate) -> None:
    with pytest.raises(UsageError, match=r"no tap 'blocks\.9'"):
        expert_world.with_taps(["blocks.9"])
    folder = tiny_wan22_a14b(tmp_path, second={"num_layers": 2})
    assert A14B.surrogate(folder, ("blocks.1", "decoded")).taps == ("blocks.1", "decoded")
    with pytest.raises(UsageError, match=r"no tap 'blocks\.2' in WanTransformer3DModel; it has .*blocks\.0 … blocks\.1"):
        A14B.surrogate(folder)


# ---------------------------------------------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((40, 32, 9), "height × width is 40 × 32; this Wan needs multiples of 16 × 16"),
        ((32, 8, 9), "multiples of 16 × 16"),
        ((32, 32, 7), "num_frames is 7; this Wan needs 1 \\+ a multiple of 4"),
        ((32, 32, 0), "num_frames is 0"),
    ],
)
@pytest.mark.parametrize("name", [WAN21.name, SKYREELS.name])
def test_sizes_the_pipelines_would_round_or_refuse_are_refused(
    folders: dict[str, Path], name: str, size: tuple[int, int, int], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        Surrogate.from_pretrained(str(folders[name]), ["blocks.1"], *size)


@pytest.mark.parametrize("part", ["transformer", "transformer_2"])
def test_a_pipeline_without_one_of_its_denoisers_is_refused_before_loading(tmp_path: Path, part: str) -> None:
    folder = tiny_wan22_a14b(tmp_path)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, part: [None, None]}))
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()  # would fail if loaded first
    with pytest.raises(UsageError, match=rf"has no {part}, which a Wan of boundary_ratio 0\.9 needs"):
        A14B.surrogate(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"in_channels": 4}, "reads 4 channels, not 12 .*supported: those, and Wan 2.2 TI2V-5B"),
        ({"pos_embed_seq_len": 10}, "pos_embed_seq_len is 10: a Wan for a first and a last frame .* give an image-to-video one"),
    ],
)
def test_other_wans_are_refused(tmp_path: Path, changes: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        WAN21.surrogate(tiny_wan21(tmp_path, **changes))


def test_a_denoiser_that_asks_for_clip_needs_clip(tmp_path: Path) -> None:
    folder = tiny_wan21(tmp_path)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "image_encoder": [None, None]}))
    with pytest.raises(UsageError, match="image_dim is 16, so it reads the photo through CLIP, but there is no image_encoder"):
        WAN21.surrogate(folder)


def test_a_second_denoiser_that_the_pipeline_never_asks_stays_out(tmp_path: Path) -> None:
    folder = tiny_wan22_a14b(tmp_path)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "boundary_ratio": None}))
    surrogate = A14B.surrogate(folder)
    assert isinstance(surrogate, WanConcatSurrogate)
    assert surrogate.low_noise_denoiser is None
    assert surrogate.denoiser_at(torch.tensor(0)) is surrogate.denoiser


def test_a_batch_of_photos_is_animated_where_the_pipeline_fails(
    folders: dict[str, Path], clip_world: WanConcatSurrogate, photos: Tensor
) -> None:
    pipeline, text = WAN21.load(folders[WAN21.name]), clip_world.encode_text([PROMPT])
    with pytest.raises(RuntimeError):
        pipeline(photos, [PROMPT] * 2, height=32, width=48, num_frames=FRAMES, num_inference_steps=1, guidance_scale=1.0)
    clips = clip_world.animate(photos, text, seed=3)
    torch.testing.assert_close(clips[:1], clip_world.animate(photos[:1], text, seed=3), atol=1e-5, rtol=0)
    assert not torch.allclose(clips[0], clips[1], atol=1e-3)
