"""What is peculiar to Wan 2.1, Wan 2.2 A14B and SkyReels-V2; the rest is in `test_families`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.surrogates import Surrogate
from anti_i2v.surrogates.families import wan_concat
from anti_i2v.surrogates.families.wan_concat import WanConcatSurrogate, resize_for_clip
from anti_i2v.surrogates.families.wan_encode import encode_in_chunks
from tests.surrogates.family import FAMILIES, PROMPT, STEPS, Family, TinyModels, draw_at, to_picture
from tests.surrogates.oracle import assert_close, record_calls
from tests.tiny.parts import edit_json, tiny_clip_processor
from tests.tiny.wan import FRAMES, tiny_wan21, tiny_wan22_a14b

WAN21, A14B, SKYREELS = (FAMILIES[name] for name in ("wan-2.1", "wan-2.2-a14b", "skyreels-v2-i2v"))


@pytest.fixture(scope="module")
def family() -> Family:
    return WAN21


@pytest.fixture(scope="module")
def two_denoisers(tiny: TinyModels) -> WanConcatSurrogate:
    surrogate = tiny.surrogate(A14B.name)
    assert isinstance(surrogate, WanConcatSurrogate)
    return surrogate


def low(surrogate: WanConcatSurrogate) -> torch.nn.Module:
    assert surrogate.low_noise_denoiser is not None
    return surrogate.low_noise_denoiser


@pytest.mark.parametrize("family", [WAN21, SKYREELS], ids=lambda family: family.name)
def test_without_the_rounding_before_clip_the_denoisers_arguments_are_equal(
    tiny: TinyModels, family: Family, photos: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    surrogate, pipeline = tiny.surrogate(family.name), tiny.pipeline(family.name)
    pixels = pipeline.image_processor(images=to_picture(photos[0]), return_tensors="pt").pixel_values
    monkeypatch.setattr(wan_concat, "resize_for_clip", lambda image, processor: pixels)
    theirs = record_calls(pipeline.transformer, lambda: family.call(pipeline, photos[0], 3))
    mine = record_calls(surrogate.denoiser, lambda: surrogate.animate(photos[:1], surrogate.encode_text([PROMPT]), 3))
    for step in range(STEPS):
        for name in ("encoder_hidden_states_image", "hidden_states"):
            assert_close(mine[step][name], theirs[step][name])


@pytest.mark.parametrize("size", [(32, 48), (48, 32), (64, 64), (16, 80)])
def test_clip_gets_what_its_processor_makes_of_the_picture(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    processor = tiny_clip_processor(28)
    photo = torch.randint(0, 256, (3, *size), generator=torch.Generator().manual_seed(5)) / 255
    theirs = processor(images=to_picture(photo), return_tensors="pt").pixel_values
    steps = 255 * torch.tensor(processor.image_std).view(1, 3, 1, 1)
    off = (resize_for_clip(photo[None], processor) - theirs) * steps
    assert off.shape == (1, 3, 28, 28)
    assert off.abs().max() < 1.5  # rounded twice, by up to half a step each time
    monkeypatch.setattr(wan_concat, "unit", lambda x: (x.clamp(0, 1) * 255).round() / 255)
    off = (resize_for_clip(photo[None], processor) - theirs) * steps  # now rounded too: what is left comes from weights of 16 bits
    assert off.abs().max() < 1.01
    assert (off.abs() > 0.5).float().mean() < 0.03


def test_clip_sees_the_middle_and_the_autoencoder_all_of_the_photo(surrogate: Surrogate, photos: Tensor) -> None:
    leaf = photos.clone().requires_grad_()
    condition = surrogate.condition(leaf)
    (by_clip,) = torch.autograd.grad(condition["image_embeds"].square().sum(), leaf, retain_graph=True)
    assert (by_clip[..., 16:32] != 0).all()
    assert (by_clip[..., :4] == 0).all()
    (by_vae,) = torch.autograd.grad(condition["latents"].square().sum(), leaf)
    assert (by_vae != 0).all()


def test_the_autoencoder_is_given_the_photo_and_then_grey(surrogate: Surrogate, photos: Tensor) -> None:
    clip = torch.cat([(2 * photos - 1).unsqueeze(2), torch.zeros(2, 3, FRAMES - 1, 32, 48)], dim=2)
    vae = surrogate.pipeline.vae
    mean, std = (torch.tensor(values).view(1, -1, 1, 1, 1) for values in (vae.config.latents_mean, vae.config.latents_std))
    with torch.no_grad():
        expected = (vae.encode(clip).latent_dist.mean - mean) / std
        assert_close(surrogate.condition(photos)["latents"], expected)
    assert torch.equal(surrogate.condition(photos.clone().requires_grad_())["latents"], surrogate.condition(photos)["latents"])


def test_a_photo_that_needs_a_gradient_is_encoded_in_chunks(surrogate: Surrogate, photos: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []

    def watch(vae: AutoencoderKLWan, clip: Tensor) -> Tensor:
        lengths.append(clip.shape[2])
        return encode_in_chunks(vae, clip)

    monkeypatch.setattr(wan_concat, "encode_in_chunks", watch)
    surrogate.condition(photos)
    with torch.no_grad():
        surrogate.condition(photos.clone().requires_grad_())
    assert lengths == []
    surrogate.condition(photos.clone().requires_grad_())
    assert lengths == [FRAMES]


@pytest.mark.parametrize("family", [WAN21, A14B, SKYREELS], ids=lambda family: family.name)
def test_text_has_512_tokens_whatever_the_tokenizer_says(tiny: TinyModels, family: Family) -> None:
    surrogate = tiny.surrogate(family.name)
    assert surrogate.pipeline.tokenizer.model_max_length == 32
    assert surrogate.encode_text([PROMPT])["prompt_embeds"].shape == (1, 512, 16)


def test_the_second_denoiser_gets_what_the_pipeline_gives_it(tiny: TinyModels, two_denoisers: WanConcatSurrogate, photos: Tensor) -> None:
    pipeline, text = tiny.pipeline(A14B.name), two_denoisers.encode_text([PROMPT])
    theirs = record_calls(pipeline.transformer_2, lambda: A14B.call(pipeline, photos[0], 3))
    mine = record_calls(low(two_denoisers), lambda: two_denoisers.animate(photos[:1], text, 3))
    assert len(mine) == len(theirs) == 2  # of four steps the first denoiser has two
    for call in range(2):
        assert theirs[call].keys() == mine[call].keys()
        assert int(theirs[call]["timestep"]) == int(two_denoisers.timesteps[2 + call])
        assert_close(mine[call]["hidden_states"], theirs[call]["hidden_states"])
        assert mine[call]["encoder_hidden_states_image"] is None


@pytest.mark.parametrize(("timestep", "first"), [(999, True), (900, True), (899, False), (0, False)])
def test_the_boundary_itself_belongs_to_the_first_denoiser(two_denoisers: WanConcatSurrogate, timestep: int, first: bool) -> None:
    assert (two_denoisers.denoiser_at(torch.tensor(timestep)) is two_denoisers.denoiser) is first
    assert two_denoisers.denoiser is two_denoisers.pipeline.transformer
    assert low(two_denoisers) is two_denoisers.pipeline.transformer_2


def test_a_tap_is_read_in_the_denoiser_in_charge(two_denoisers: WanConcatSurrogate, photos: Tensor) -> None:
    order: list[str] = []
    parts = {"first": two_denoisers.denoiser, "second": low(two_denoisers)}
    handles = [part.register_forward_pre_hook(lambda m, args, name=name: order.append(name)) for name, part in parts.items()]
    text = two_denoisers.encode_text([PROMPT])
    try:
        for step in range(STEPS):
            leaf = photos.clone().requires_grad_()
            features = two_denoisers(leaf, text, draw_at(two_denoisers, step))
            (slope,) = torch.autograd.grad(sum(value.square().sum() for value in features.values()), leaf)
            assert (slope != 0).all()
    finally:
        for handle in handles:
            handle.remove()
    assert order == ["first", "first", "second", "second"]


def test_the_second_denoiser_and_clip_are_frozen_and_move_along(tiny: TinyModels) -> None:
    experts, clip = (family.surrogate(tiny.folder(family.name)).train() for family in (A14B, WAN21))
    assert isinstance(experts, WanConcatSurrogate)
    for surrogate, part in ((experts, experts.pipeline.transformer_2), (clip, clip.pipeline.image_encoder)):
        assert not any(p.requires_grad for p in part.parameters())
        assert not any(module.training for module in part.modules())
        surrogate.to("meta")
        assert {p.device.type for p in part.parameters()} == {"meta"}
    assert experts.photo_mask.device.type == "meta"


def test_taps_are_checked_in_both_denoisers(tmp_path: Path, two_denoisers: WanConcatSurrogate) -> None:
    with pytest.raises(UsageError, match=r"no tap 'blocks\.9'"):
        two_denoisers.with_taps(["blocks.9"])
    folder = tiny_wan22_a14b(tmp_path, second={"num_layers": 2})
    assert A14B.surrogate(folder, taps=("blocks.1", "decoded")).taps == ("blocks.1", "decoded")
    with pytest.raises(UsageError, match=r"no tap 'blocks\.2' in WanTransformer3DModel; it has .*blocks\.0 … blocks\.1"):
        A14B.surrogate(folder)


@pytest.mark.parametrize("part", ["transformer", "transformer_2"])
def test_a_pipeline_without_one_of_its_denoisers_is_refused_before_loading(tmp_path: Path, part: str) -> None:
    folder = tiny_wan22_a14b(tmp_path)
    edit_json(folder / "model_index.json", **{part: [None, None]})
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


def test_a_denoiser_that_reads_the_photo_through_clip_needs_clip(tmp_path: Path) -> None:
    folder = tiny_wan21(tmp_path)
    edit_json(folder / "model_index.json", image_encoder=[None, None])
    with pytest.raises(UsageError, match="image_dim is 16, so it reads the photo through CLIP, but there is no image_encoder"):
        WAN21.surrogate(folder)


def test_a_second_denoiser_that_the_pipeline_never_calls_is_not_used(tmp_path: Path) -> None:
    folder = tiny_wan22_a14b(tmp_path)
    edit_json(folder / "model_index.json", boundary_ratio=None)
    surrogate = A14B.surrogate(folder)
    assert isinstance(surrogate, WanConcatSurrogate)
    assert surrogate.low_noise_denoiser is None
    assert surrogate.denoiser_at(torch.tensor(0)) is surrogate.denoiser
