"""What is peculiar to I2VGen-XL: what CLIP sees, the frames' places, the layer of the text encoder, the schedule, refusals."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.imaging.tensors import to_pil, to_tensor
from anti_i2v.surrogates import Draw, Surrogate
from tests.surrogates.family import PROMPT, STEPS
from tests.surrogates.oracle import record
from tests.tiny.i2vgen_xl import FRAMES, SCALING, tiny_i2vgen_xl

HEIGHT, WIDTH = 32, 48
TAPS = ("down_blocks.0", "mid_block")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_i2vgen_xl(tmp_path_factory.mktemp("i2vgen"))


@pytest.fixture(scope="module")
def surrogate(folder: Path) -> Surrogate:
    return build(folder)


@pytest.fixture
def photos() -> Tensor:
    return torch.randint(0, 256, (2, 3, HEIGHT, WIDTH), generator=torch.Generator().manual_seed(1)) / 255


def build(folder: Path, height: int = HEIGHT, width: int = WIDTH, frames: int = FRAMES, taps: tuple[str, ...] = TAPS) -> Surrogate:
    return Surrogate.from_pretrained(str(folder), list(taps), height, width, frames, STEPS)


@pytest.mark.parametrize(("height", "width"), [(32, 48), (48, 32), (32, 32), (56, 104), (40, 72), (24, 80), (704, 1280)])
def test_clip_sees_what_the_pipeline_cuts_out_but_for_rounding(folder: Path, height: int, width: int) -> None:
    from diffusers.pipelines.deprecated.i2vgen_xl.pipeline_i2vgen_xl import _center_crop_wide, _resize_bilinear

    photo = torch.randint(0, 256, (1, 3, height, width), generator=torch.Generator().manual_seed(1)) / 255
    theirs = to_tensor(_resize_bilinear(_center_crop_wide(to_pil(photo[0]), (width, width)), (28, 28)))
    shown_to_clip = build(folder, height, width).shown_to_clip
    mine = shown_to_clip(photo)  # type: ignore[operator]
    assert (mine[0] - theirs).abs().max() <= 1.01 / 255  # PIL rounds after its rows and after its columns


def test_the_embedding_differs_from_the_pipelines_by_that_rounding_only(surrogate: Surrogate, photos: Tensor) -> None:
    pipeline, shown = surrogate.pipeline, surrogate.shown_to_clip(photos[:1])  # type: ignore[operator]
    with torch.no_grad():
        mine = surrogate.condition(photos[:1])["image_embeds"]
        theirs = pipeline._encode_image(to_pil(shown[0]), "cpu", 1)
        exact = pipeline._encode_image(
            pipeline.feature_extractor(shown, do_resize=False, do_center_crop=False, do_rescale=False, return_tensors="pt").pixel_values,
            "cpu",
            1,
        )
    torch.testing.assert_close(mine, exact, atol=1e-5, rtol=0)
    assert (mine - theirs).abs().max() < 1e-2


def test_only_the_first_frame_has_the_photo_and_later_ones_their_place(surrogate: Surrogate, photos: Tensor) -> None:
    draw = surrogate.draw(2, torch.Generator().manual_seed(7))
    given = record(surrogate.denoiser, lambda: surrogate(photos, surrogate.encode_text([PROMPT]), draw))
    with torch.no_grad():
        latents = surrogate.pipeline.vae.encode(2 * photos - 1).latent_dist.mode() * SCALING
    torch.testing.assert_close(given["image_latents"][:, :, 0], latents, atol=1e-5, rtol=0)
    assert given["image_latents"][:, :, 1].unique().tolist() == [0.5]
    assert given["image_latents"][:, :, 2].unique().tolist() == [1.0]
    assert given["fps"].tolist() == [16, 16]


def test_prompts_are_read_one_layer_before_the_last(surrogate: Surrogate) -> None:
    encoder, tokenizer = surrogate.pipeline.text_encoder, surrogate.pipeline.tokenizer
    tokens = tokenizer([PROMPT], padding="max_length", max_length=20, truncation=True, return_tensors="pt").input_ids
    states: list[Tensor] = []
    handle = encoder.text_model.encoder.layers[1].register_forward_hook(lambda *given: states.append(given[2]))
    with torch.no_grad():
        encoder(tokens)
        handle.remove()
        state = states[0][0] if isinstance(states[0], tuple) else states[0]
        expected = encoder.text_model.final_layer_norm(state)
    torch.testing.assert_close(surrogate.encode_text([PROMPT])["encoder_hidden_states"], expected, atol=1e-5, rtol=0)


def test_later_steps_are_noised_as_the_scheduler_does(surrogate: Surrogate, photos: Tensor) -> None:
    drawn = surrogate.draw(2, torch.Generator().manual_seed(7))
    known = surrogate.condition(photos.clone().requires_grad_())
    for step in range(1, STEPS):
        draw = Draw(step, surrogate.timesteps[step], surrogate.sigmas[step], drawn.noise)
        still = known["latents"].detach().expand_as(drawn.noise)
        theirs = surrogate.pipeline.scheduler.add_noise(still, drawn.noise, surrogate.timesteps[step].expand(2))
        torch.testing.assert_close(surrogate.noisy(known, draw), theirs, atol=1e-5, rtol=0)
        assert not surrogate.noisy(known, draw).requires_grad
    assert torch.equal(surrogate.noisy(known, Draw(0, surrogate.timesteps[0], surrogate.sigmas[0], drawn.noise)), drawn.noise)


def test_sigma_is_the_share_of_noise_and_the_schedule_leaves_the_noisiest_out(surrogate: Surrogate) -> None:
    kept = surrogate.pipeline.scheduler.alphas_cumprod
    assert surrogate.timesteps.tolist() == [751, 501, 251, 1]  # "leading": 0, 250, 500, 750 and the offset of 1
    spread = ((1 - kept) / kept).sqrt()[[751, 501, 251, 1]]
    assert surrogate.sigmas == pytest.approx((spread / (1 + spread)).tolist(), rel=1e-5)
    assert kept[-1] == 0  # what would be pure noise


def test_gradient_reaches_the_photo_by_both_routes(surrogate: Surrogate, photos: Tensor) -> None:
    leaf = photos.clone().requires_grad_()
    condition = surrogate.condition(leaf)
    (slope,) = torch.autograd.grad(condition["latents"].square().sum(), leaf, retain_graph=True)
    assert (slope != 0).float().mean() > 0.99
    (slope,) = torch.autograd.grad(condition["image_embeds"].square().sum(), leaf)
    middle = slice((WIDTH - HEIGHT) // 2, (WIDTH + HEIGHT) // 2)
    assert (slope[..., middle] != 0).float().mean() > 0.99
    assert (slope[..., : middle.start] == 0).all()  # CLIP is shown the middle only


@pytest.mark.parametrize(
    ("tap", "shape"),
    [
        ("mid_block", (16, FRAMES, 4, 6)),
        ("down_blocks.0.attentions.0.transformer_blocks.0", (8, FRAMES, 1, 8 * 12)),
        ("transformer_in.transformer_blocks.0", (8 * 12 * FRAMES, 32)),
        ("image_latents_context_embedding", (16, 8, 8)),
    ],
)
def test_features_come_photo_by_photo(folder: Path, photos: Tensor, tap: str, shape: tuple[int, ...]) -> None:
    surrogate = build(folder, taps=(tap,))
    text, drawn = surrogate.encode_text([PROMPT]), surrogate.draw(2, torch.Generator().manual_seed(7))
    with torch.no_grad():
        together = surrogate(photos, text, drawn)[tap]
        second = Draw(drawn.step, drawn.timestep, drawn.sigma, drawn.noise[1:])
        alone = surrogate(photos[1:], text, second)[tap]
    assert together.shape == (2, *shape)
    torch.testing.assert_close(together[1:], alone, atol=1e-4, rtol=1e-4)


def test_a_clip_of_one_frame_is_possible(folder: Path, photos: Tensor) -> None:
    surrogate = build(folder, frames=1)
    assert surrogate.animate(photos, surrogate.encode_text([PROMPT]), seed=0).shape == (2, 1, 3, HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("height", "frames", "message"),
    [(20, FRAMES, "height × width is 20 × 48; this I2VGen-XL needs multiples of 8 × 8"), (HEIGHT, 0, "num_frames is 0")],
)
def test_sizes_the_pipeline_refuses_are_refused(folder: Path, height: int, frames: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(folder, height, frames=frames)
