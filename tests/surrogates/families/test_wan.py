"""The Wan adapter against the real pipeline's own call."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import WanImageToVideoPipeline
from PIL import Image
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.surrogates import Draw, Surrogate
from anti_i2v.surrogates.families.wan import WanSurrogate
from anti_i2v.surrogates.families.wan_concat import WanConcatSurrogate
from tests.surrogates.conftest import HEIGHT, PROMPT, STEPS, WIDTH
from tests.surrogates.oracle import record
from tests.tiny import FRAMES, tiny_world


@pytest.fixture(scope="module")
def pipeline(world: Path) -> WanImageToVideoPipeline:
    """The same folder, loaded by diffusers itself."""
    pipeline = WanImageToVideoPipeline.from_pretrained(world, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def animate(pipeline: WanImageToVideoPipeline, photo: Tensor, **options: Any) -> Tensor:
    """The pipeline's own call on a photo `(3, H, W)`, given as the picture a user would give."""
    picture = Image.fromarray((photo * 255).round().byte().permute(1, 2, 0).numpy())
    frames: Tensor = pipeline(
        image=picture,
        prompt=PROMPT,
        height=HEIGHT,
        width=WIDTH,
        num_frames=FRAMES,
        num_inference_steps=STEPS,
        guidance_scale=1.0,
        max_sequence_length=pipeline.tokenizer.model_max_length,
        output_type="pt",
        **options,
    ).frames
    return frames


def assert_same(mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert mine.keys() == theirs.keys()
    for name, value in theirs.items():
        if isinstance(value, Tensor):
            torch.testing.assert_close(mine[name].to(value.dtype), value, atol=1e-5, rtol=0, msg=name)
        else:
            assert mine[name] == value, name


def test_first_step_gets_what_the_pipeline_gives_its_denoiser(
    pipeline: WanImageToVideoPipeline, surrogate: Surrogate, text: dict[str, Tensor], photos: Tensor
) -> None:
    first = surrogate.draw(1, torch.Generator().manual_seed(3), min_sigma=1.0)
    theirs = record(pipeline.transformer, lambda: animate(pipeline, photos[0], latents=first.noise))
    mine = record(surrogate.denoiser, lambda: surrogate(photos[:1], text, first))
    assert_same(mine, theirs)


@pytest.mark.parametrize("step", [1, STEPS - 1])
def test_later_steps_get_what_the_pipeline_gives_its_denoiser(
    pipeline: WanImageToVideoPipeline, surrogate: Surrogate, text: dict[str, Tensor], photos: Tensor, step: int
) -> None:
    theirs = record(pipeline.transformer, lambda: animate(pipeline, photos[0]), skip=step)
    latents = theirs["hidden_states"].clone()
    latents[:, :, 0] = 9.0  # whatever the sampler holds there, the photo must replace it
    mine = surrogate.inputs(surrogate.condition(photos[:1]), text, latents, surrogate.timesteps[step])
    assert_same({**mine, "return_dict": False}, theirs)


def test_animate_equals_the_pipeline(
    pipeline: WanImageToVideoPipeline, surrogate: Surrogate, text: dict[str, Tensor], photos: Tensor
) -> None:
    theirs = animate(pipeline, photos[0], generator=torch.Generator().manual_seed(11))
    mine = surrogate.animate(photos[:1], text, seed=11)
    assert mine.shape == (1, FRAMES, 3, HEIGHT, WIDTH)
    assert mine.min() >= 0
    assert mine.max() <= 1
    torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=0)


def test_noise_levels_are_mixed_as_the_scheduler_does(surrogate: Surrogate, photos: Tensor, draw: Draw) -> None:
    scheduler = copy.deepcopy(surrogate.pipeline.scheduler)
    scheduler.set_timesteps(STEPS)
    condition = surrogate.condition(photos)
    for step in range(1, STEPS):
        later = Draw(step, surrogate.timesteps[step], surrogate.sigmas[step], draw.noise)
        still = condition["latents"].expand_as(draw.noise)
        theirs = scheduler.add_noise(still, draw.noise, surrogate.timesteps[step].expand(2))
        torch.testing.assert_close(surrogate.noisy(condition, later), theirs, atol=1e-6, rtol=0)


def test_the_first_step_is_pure_noise(surrogate: Surrogate, photos: Tensor, draw: Draw) -> None:
    first = Draw(0, surrogate.timesteps[0], surrogate.sigmas[0], draw.noise)
    assert torch.equal(surrogate.noisy(surrogate.condition(photos), first), draw.noise)


def test_decode_undoes_the_normalisation(pipeline: WanImageToVideoPipeline, surrogate: Surrogate, draw: Draw) -> None:
    mean = torch.tensor(pipeline.vae.config.latents_mean).view(1, -1, 1, 1, 1)
    std = torch.tensor(pipeline.vae.config.latents_std).view(1, -1, 1, 1, 1)
    with torch.no_grad():
        video = pipeline.vae.decode(draw.noise * std + mean).sample
        mine = surrogate.decode(draw.noise)
    torch.testing.assert_close(mine, ((video + 1) / 2).clamp(0, 1).permute(0, 2, 1, 3, 4), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((40, 32, 5), "height × width is 40 × 32; this Wan needs multiples of 16 × 16"),
        ((32, 8, 5), "multiples of 16 × 16"),
        ((32, 32, 4), "num_frames is 4; this Wan needs 1 \\+ a multiple of 2"),
        ((32, 32, 0), "num_frames is 0"),
    ],
)
def test_sizes_the_pipeline_would_round_are_refused(world: Path, size: tuple[int, int, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Surrogate.from_pretrained(str(world), ["blocks.1"], *size)


@pytest.mark.parametrize(("expand", "boundary", "family"), [(True, None, WanSurrogate), (False, None, WanConcatSurrogate)])
def test_the_index_tells_the_layouts_apart(expand: bool, boundary: float | None, family: type[Surrogate]) -> None:
    index = {"expand_timesteps": expand, "boundary_ratio": boundary, "transformer": ["diffusers", "WanTransformer3DModel"]}
    assert WanSurrogate.variant("somewhere", index) is family


def test_a_layout_that_no_wan_has_is_refused_before_loading(tmp_path: Path) -> None:
    folder = tiny_world(tmp_path / "wan")
    index = folder / "model_index.json"
    index.write_text(index.read_text().replace('"boundary_ratio": null', '"boundary_ratio": 0.9'))
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()  # would fail if loaded first
    with pytest.raises(UsageError, match=r"has expand_timesteps and a boundary_ratio.*set one of them to null"):
        Surrogate.from_pretrained(str(folder), ["blocks.1"], 32, 32, 5)


def test_the_weights_of_this_layout_are_no_wan_2_1(tmp_path: Path) -> None:
    folder = tiny_world(tmp_path / "wan")
    index = folder / "model_index.json"
    index.write_text(index.read_text().replace('"expand_timesteps": true', '"expand_timesteps": false'))
    with pytest.raises(UsageError, match=r"reads 4 channels, not 10 \(noise, mask, photo\)"):
        Surrogate.from_pretrained(str(folder), ["blocks.1"], 32, 32, 5)


def test_a_still_clip_gives_the_photo_no_short_cut(surrogate: Surrogate, photos: Tensor, draw: Draw) -> None:
    later = Draw(3, surrogate.timesteps[3], surrogate.sigmas[3], draw.noise)
    condition = surrogate.condition(photos.clone().requires_grad_())
    assert condition["latents"].requires_grad
    assert not surrogate.noisy(condition, later).requires_grad


@pytest.mark.parametrize(("limit", "length"), [(20, 20), (10**30, 512)])
def test_text_is_as_long_as_the_tokenizer_allows_up_to_wans_512(world: Path, limit: int, length: int) -> None:
    surrogate = Surrogate.from_pretrained(str(world), ["blocks.0"], 32, 32, FRAMES)
    surrogate.pipeline.tokenizer.model_max_length = limit
    assert surrogate.encode_text([PROMPT])["prompt_embeds"].shape[:2] == (1, length)


def test_decoded_is_the_photo_through_the_autoencoder_and_the_denoiser_stays_out_of_it(
    world: Path, pipeline: WanImageToVideoPipeline, photos: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    surrogate = Surrogate.from_pretrained(str(world), ["decoded"], HEIGHT, WIDTH, FRAMES, STEPS)

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("the denoiser ran")

    monkeypatch.setattr(surrogate.denoiser, "forward", fail)
    photo = photos.clone().requires_grad_()
    draw = surrogate.draw(len(photo), torch.Generator().manual_seed(0))
    features = surrogate(photo, surrogate.encode_text([PROMPT]), draw)
    with torch.no_grad():
        latents = pipeline.vae.encode((2 * photos - 1).unsqueeze(2)).latent_dist.mode()
        expected = (pipeline.vae.decode(latents).sample[:, :, 0] / 2 + 0.5).clamp(0, 1)
    assert list(features) == ["decoded"]
    torch.testing.assert_close(features["decoded"], expected, atol=1e-5, rtol=0)
    features["decoded"].square().sum().backward()  # type: ignore[no-untyped-call]
    assert photo.grad is not None
    assert photo.grad.flatten(1).abs().sum(1).gt(0).all()


def test_decoded_stands_beside_layers_and_is_computed_before_them(world: Path, photos: Tensor) -> None:
    surrogate = Surrogate.from_pretrained(str(world), ["blocks.0", "decoded", "blocks.1"], HEIGHT, WIDTH, FRAMES, STEPS)
    draw = surrogate.draw(len(photos), torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = surrogate(photos, surrogate.encode_text([PROMPT]), draw)
    assert list(features) == ["decoded", "blocks.0", "blocks.1"]  # the order of computation, whatever was asked for


def test_photo_is_the_photo_itself_and_its_gradient_and_the_denoiser_stays_out_of_it(
    surrogate: Surrogate, photos: Tensor, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("the denoiser ran")

    monkeypatch.setattr(surrogate.denoiser, "forward", fail)
    photo = photos.clone().requires_grad_()
    features = surrogate.with_taps(["photo"])(photo, surrogate.encode_text([PROMPT]), draw)
    assert list(features) == ["photo"]
    assert torch.equal(features["photo"], photos)
    features["photo"].sum().backward()  # type: ignore[no-untyped-call]
    assert photo.grad is not None
    assert bool((photo.grad == 1).all())


def test_one_frozen_model_is_read_at_several_taps_at_once(surrogate: Surrogate, photos: Tensor, draw: Draw) -> None:
    text = surrogate.encode_text([PROMPT])
    other = surrogate.with_taps(["photo", "blocks.2", "decoded", "photo"])
    with torch.no_grad():
        seen, features = other(photos, text, draw), surrogate(photos, text, draw)
    assert list(seen) == ["photo", "decoded", "blocks.2"]
    assert list(features) == ["blocks.1", "blocks.2"]  # as it was made
    assert torch.equal(seen["blocks.2"], features["blocks.2"])
    mine = {name: value.data_ptr() for name, value in surrogate.state_dict().items()}
    assert {name: value.data_ptr() for name, value in other.state_dict().items()} == mine  # no second copy of the weights
    assert torch.equal(other.animate(photos, text, 0, steps=1), surrogate.animate(photos, text, 0, steps=1))


def test_other_taps_are_checked_as_the_first_ones(surrogate: Surrogate) -> None:
    with pytest.raises(UsageError, match=r"no tap 'blocks\.9'"):
        surrogate.with_taps(["photo", "blocks.9"])
    with pytest.raises(UsageError, match="no taps given"):
        surrogate.with_taps([])
