"""The Stable Video Diffusion adapter against the real pipeline's own call."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableVideoDiffusionPipeline
from PIL import Image
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.surrogates import Draw, Surrogate
from tests.surrogates.oracle import record
from tests.tiny.unet import EMBEDDING, FRAMES, tiny_unet_world

HEIGHT, WIDTH, STEPS = 16, 24, 4  # not square, so that a swap of the two shows
TAPS = ["down_blocks.0", "mid_block"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_unet_world(tmp_path_factory.mktemp("unet"))


@pytest.fixture(scope="module")
def surrogate(folder: Path) -> Surrogate:
    return Surrogate.from_pretrained(str(folder), TAPS, HEIGHT, WIDTH, FRAMES, STEPS)


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> StableVideoDiffusionPipeline:
    """The same folder, loaded by diffusers itself."""
    pipeline = StableVideoDiffusionPipeline.from_pretrained(folder, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture
def photos() -> Tensor:
    """Two photos on the 8-bit grid."""
    return torch.randint(0, 256, (2, 3, HEIGHT, WIDTH), generator=torch.Generator().manual_seed(1)) / 255


def animate(pipeline: StableVideoDiffusionPipeline, photo: Tensor, seed: int, **options: Any) -> Tensor:
    """The pipeline's own call on a photo `(3, H, W)`, given as the picture a user would give."""
    picture = Image.fromarray((photo * 255).round().byte().permute(1, 2, 0).numpy())
    frames: Tensor = pipeline(
        picture,
        height=HEIGHT,
        width=WIDTH,
        num_frames=FRAMES,
        num_inference_steps=STEPS,
        min_guidance_scale=1.0,
        max_guidance_scale=1.0,
        output_type="pt",
        generator=torch.Generator().manual_seed(seed),
        **options,
    ).frames
    return frames


def assert_same(mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert mine.keys() == theirs.keys()
    for name, value in theirs.items():
        if isinstance(value, Tensor):
            torch.testing.assert_close(mine[name], value, atol=1e-5, rtol=0, msg=name)
        else:
            assert mine[name] == value, name


def image_noise(seed: int) -> Tensor:
    """The pipeline draws the noise on the photo first, from the generator of its call."""
    return torch.randn(1, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed))


def test_first_step_gets_what_the_pipeline_gives_its_denoiser(
    pipeline: StableVideoDiffusionPipeline, surrogate: Surrogate, photos: Tensor
) -> None:
    noise = torch.randn(surrogate.latent_shape(1), generator=torch.Generator().manual_seed(3))
    theirs = record(pipeline.unet, lambda: animate(pipeline, photos[0], 5, latents=noise))
    first = Draw(0, surrogate.timesteps[0], surrogate.sigmas[0], noise, image_noise(5))
    mine = record(surrogate.denoiser, lambda: surrogate(photos[:1], {}, first))
    assert_same(mine, theirs)


@pytest.mark.parametrize("step", [1, STEPS - 1])
def test_later_steps_get_what_the_pipeline_gives_its_denoiser(
    pipeline: StableVideoDiffusionPipeline, surrogate: Surrogate, photos: Tensor, step: int
) -> None:
    theirs = record(pipeline.unet, lambda: animate(pipeline, photos[0], 5), skip=step)
    channels = surrogate.latent_shape(1)[2]
    condition = surrogate.condition(photos[:1], image_noise(5))
    mine = surrogate.inputs(condition, {}, theirs["sample"][:, :, :channels], surrogate.timesteps[step])
    assert_same({**mine, "return_dict": False}, theirs)


def test_animate_equals_the_pipeline(pipeline: StableVideoDiffusionPipeline, surrogate: Surrogate, photos: Tensor) -> None:
    clips = surrogate.animate(photos, {}, seed=11)
    assert clips.shape == (2, FRAMES, 3, HEIGHT, WIDTH)
    torch.testing.assert_close(clips[:1], animate(pipeline, photos[0], 11), atol=1e-4, rtol=0)
    torch.testing.assert_close(clips[:1], surrogate.animate(photos[:1], {}, seed=11), atol=1e-4, rtol=0)


def test_noise_levels_are_mixed_as_the_scheduler_does(surrogate: Surrogate, photos: Tensor) -> None:
    scheduler = copy.deepcopy(surrogate.pipeline.scheduler)
    scheduler.set_timesteps(STEPS)
    drawn = surrogate.draw(2, torch.Generator().manual_seed(7))
    condition = surrogate.condition(photos)
    still = condition["latents"].unsqueeze(1).expand_as(drawn.noise) * 0.6  # the folder's scaling factor
    for step in range(1, STEPS):
        later = Draw(step, surrogate.timesteps[step], surrogate.sigmas[step], drawn.noise)
        added = scheduler.add_noise(still, drawn.noise, scheduler.timesteps[step].expand(2))
        theirs = added / (scheduler.sigmas[step] ** 2 + 1).sqrt()
        torch.testing.assert_close(surrogate.noisy(condition, later), theirs, atol=1e-5, rtol=0)


def test_sigma_is_the_share_of_noise(surrogate: Surrogate) -> None:
    # Karras' schedule (arXiv 2206.00364, equation 5) from 700 to 0.002 with rho = 7
    low, high = 0.002 ** (1 / 7), 700 ** (1 / 7)
    levels = [(high + i / (STEPS - 1) * (low - high)) ** 7 for i in range(STEPS)]
    assert surrogate.sigmas == pytest.approx([level / (1 + level) for level in levels], rel=1e-4)
    drawn = {surrogate.draw(1, torch.Generator().manual_seed(seed), min_sigma=0.75).step for seed in range(20)}
    assert drawn == {step for step in range(STEPS) if levels[step] >= 3}


def test_gradient_reaches_the_photo_by_both_routes(surrogate: Surrogate, photos: Tensor) -> None:
    leaf = photos.clone().requires_grad_()
    condition = surrogate.condition(leaf)
    for route in ("latents", "image_embeds"):
        (slope,) = torch.autograd.grad(condition[route].square().sum(), leaf, retain_graph=True)
        assert slope.isfinite().all()
        assert (slope != 0).float().mean() > 0.99
    features = surrogate(leaf, {}, surrogate.draw(2, torch.Generator().manual_seed(7)))
    sum(value.square().mean() for value in features.values()).backward()
    assert leaf.grad is not None
    assert leaf.grad.abs().sum() > 0
    assert not any(p.requires_grad or p.grad is not None for p in surrogate.parameters())
    assert not any(module.training for module in surrogate.train().modules())


@pytest.mark.parametrize(
    ("tap", "shape"),
    [
        ("mid_block", (32, FRAMES, 4, 6)),
        ("down_blocks.0.attentions.0.transformer_blocks.0", (32, FRAMES, 1, 8 * 12)),
        ("down_blocks.0.resnets.0.temporal_res_block", (32, FRAMES, 8, 12)),
        ("down_blocks.0.attentions.0.temporal_transformer_blocks.0.attn1", (8 * 12 * FRAMES, 32)),
    ],
)
def test_features_come_photo_by_photo(folder: Path, photos: Tensor, tap: str, shape: tuple[int, ...]) -> None:
    surrogate = Surrogate.from_pretrained(str(folder), [tap], HEIGHT, WIDTH, FRAMES, STEPS)
    drawn = surrogate.draw(2, torch.Generator().manual_seed(7))
    together = surrogate(photos, {}, drawn)[tap]
    assert together.shape == (2, *shape)
    assert drawn.image_noise is not None
    second = Draw(drawn.step, drawn.timestep, drawn.sigma, drawn.noise[1:], drawn.image_noise[1:])
    torch.testing.assert_close(together[1:], surrogate(photos[1:], {}, second)[tap], atol=1e-4, rtol=1e-4)


def test_decoded_is_each_photo_alone_through_the_autoencoder_and_the_denoiser_stays_out_of_it(
    pipeline: StableVideoDiffusionPipeline, surrogate: Surrogate, photos: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("the denoiser ran")

    monkeypatch.setattr(surrogate.denoiser, "forward", fail)
    photo = photos.clone().requires_grad_()
    drawn = surrogate.draw(2, torch.Generator().manual_seed(7))
    features = surrogate.with_taps(["decoded"])(photo, {}, drawn)
    assert list(features) == ["decoded"]
    assert drawn.image_noise is not None
    for i in range(2):
        with torch.no_grad():  # the pipeline's call shows the autoencoder a photo with noise of 0.02 on it
            latents = pipeline.vae.encode(2 * photos[i : i + 1] - 1 + 0.02 * drawn.image_noise[i : i + 1]).latent_dist.mode()
            expected = (pipeline.vae.decode(latents, num_frames=1).sample / 2 + 0.5).clamp(0, 1)
        torch.testing.assert_close(features["decoded"][i : i + 1], expected, atol=1e-5, rtol=0)
    features["decoded"].square().sum().backward()  # type: ignore[no-untyped-call]
    assert photo.grad is not None
    assert photo.grad.flatten(1).abs().sum(1).gt(0).all()


def test_frames_of_a_map_stay_in_order(surrogate: Surrogate) -> None:
    by_photo: Callable[[Tensor, int], Tensor] = surrogate.by_photo
    value = torch.arange(2 * FRAMES * 4 * 2 * 2).view(2 * FRAMES, 4, 2, 2)
    assert torch.equal(by_photo(value, 2)[1, :, 2], value[FRAMES + 2])


def test_prompts_are_none_of_its_business(surrogate: Surrogate) -> None:
    assert surrogate.encode_text(["a dog runs", "she waves"]) == {}
    surrogate.drop_text_encoder()
    assert surrogate.encode_text(["another"]) == {}


def test_a_draw_is_decided_by_its_generator(surrogate: Surrogate) -> None:
    one, two, other = (surrogate.draw(2, torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))
    for name in ("noise", "image_noise"):
        assert torch.equal(getattr(one, name), getattr(two, name))
        assert not torch.equal(getattr(one, name), getattr(other, name))
    assert one.noise.shape == surrogate.latent_shape(2) == (2, FRAMES, 4, 8, 12)


def test_everything_moves_together_and_computes_in_single_precision(surrogate: Surrogate) -> None:
    assert {p.dtype for p in surrogate.parameters()} == {torch.float32}
    assert any(name.startswith("image_encoder.") for name, _ in surrogate.named_parameters())
    assert surrogate.condition(torch.rand(1, 3, HEIGHT, WIDTH))["image_embeds"].shape == (1, 1, EMBEDDING)


@pytest.mark.parametrize(
    ("size", "message"),
    [((20, 24, 3), "height × width is 20 × 24; this SVD needs multiples of 8 × 8"), ((16, 24, 0), "num_frames is 0")],
)
def test_sizes_the_pipeline_refuses_are_refused(folder: Path, size: tuple[int, int, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Surrogate.from_pretrained(str(folder), TAPS, *size)
