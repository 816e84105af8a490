"""What is peculiar to I2VGen-XL: what CLIP sees, the frames' places, the layer of the text encoder, the schedule, refusals."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from anti_i2v.imaging.tensors import to_pil, to_tensor
from anti_i2v.surrogates import Draw, Surrogate
from tests.surrogates.family import FAMILIES, PROMPT, Family, draw_at
from tests.surrogates.oracle import assert_close
from tests.tiny.i2vgen_xl import FRAMES


@pytest.fixture(scope="module")
def family() -> Family:
    return FAMILIES["i2vgen-xl"]


@pytest.mark.parametrize(("height", "width"), [(32, 48), (48, 32), (32, 32), (56, 104), (40, 72), (24, 80), (704, 1280)])
def test_clip_sees_what_the_pipeline_cuts_out_but_for_rounding(family: Family, folder: Path, height: int, width: int) -> None:
    from diffusers.pipelines.deprecated.i2vgen_xl.pipeline_i2vgen_xl import _center_crop_wide, _resize_bilinear

    photo = torch.randint(0, 256, (1, 3, height, width), generator=torch.Generator().manual_seed(1)) / 255
    theirs = to_tensor(_resize_bilinear(_center_crop_wide(to_pil(photo[0]), (width, width)), (28, 28)))
    resize_for_clip = family.surrogate(folder, height=height, width=width).resize_for_clip
    mine = resize_for_clip(photo)  # type: ignore[operator]
    assert (mine[0] - theirs).abs().max() <= 1.01 / 255  # PIL rounds after its rows and after its columns


def test_the_embedding_differs_from_the_pipelines_by_that_rounding_only(surrogate: Surrogate, photos: Tensor) -> None:
    pipeline, middle = surrogate.pipeline, surrogate.resize_for_clip(photos[:1])  # type: ignore[operator]
    with torch.no_grad():
        mine = surrogate.condition(photos[:1])["image_embeds"]
        theirs = pipeline._encode_image(to_pil(middle[0]), "cpu", 1)
        exact = pipeline._encode_image(
            pipeline.feature_extractor(middle, do_resize=False, do_center_crop=False, do_rescale=False, return_tensors="pt").pixel_values,
            "cpu",
            1,
        )
    assert_close(mine, exact)
    assert (mine - theirs).abs().max() < 1e-2


def test_sigma_is_the_share_of_noise_and_the_schedule_leaves_the_noisiest_out(surrogate: Surrogate) -> None:
    alphas = surrogate.pipeline.scheduler.alphas_cumprod
    assert surrogate.timesteps.tolist() == [751, 501, 251, 1]  # "leading": 0, 250, 500, 750 and the offset of 1
    spread = ((1 - alphas) / alphas).sqrt()[[751, 501, 251, 1]]
    assert surrogate.sigmas == pytest.approx((spread / (1 + spread)).tolist(), rel=1e-5)
    assert alphas[-1] == 0  # what would be pure noise


def test_gradient_reaches_the_photo_by_both_routes(surrogate: Surrogate, photos: Tensor) -> None:
    leaf = photos.clone().requires_grad_()
    condition = surrogate.condition(leaf)
    (slope,) = torch.autograd.grad(condition["latents"].square().sum(), leaf, retain_graph=True)
    assert (slope != 0).float().mean() > 0.99
    (slope,) = torch.autograd.grad(condition["image_embeds"].square().sum(), leaf)
    middle = slice((48 - 32) // 2, (48 + 32) // 2)
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
def test_features_come_photo_by_photo(surrogate: Surrogate, photos: Tensor, tap: str, shape: tuple[int, ...]) -> None:
    other, text, draw = surrogate.with_taps([tap]), surrogate.encode_text([PROMPT]), draw_at(surrogate, 1)
    with torch.no_grad():
        together = other(photos, text, draw)[tap]
        alone = other(photos[1:], text, Draw(draw.step, draw.timestep, draw.sigma, draw.noise[1:]))[tap]
    assert together.shape == (2, *shape)
    assert_close(together[1:], alone)


def test_a_clip_of_one_frame_is_possible(family: Family, folder: Path, photos: Tensor) -> None:
    surrogate = family.surrogate(folder, num_frames=1)
    assert surrogate.animate(photos, surrogate.encode_text([PROMPT]), seed=0).shape == (2, 1, 3, 32, 48)
