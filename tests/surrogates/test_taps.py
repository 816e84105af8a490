"""The taps that are no layers of the denoiser: the autoencoder's layers, the latent, and the denoiser's error."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.surrogates import Surrogate
from tests.tiny import tiny_world
from tests.tiny.cogvideox import tiny_cogvideox, tiny_cogvideox_15
from tests.tiny.ltx import tiny_ltx
from tests.tiny.unet import tiny_unet_world
from tests.tiny.wan import tiny_wan21

STEPS = 6
PROMPT = "a person nods"


class Row:
    """A family with a tap `error`: how to write a tiny pipeline, one of its layers, its size."""

    def __init__(self, write: Callable[[str | Path], Path], layer: str, frames: int, height: int, width: int) -> None:
        self.write, self.layer, self.frames, self.height, self.width = write, layer, frames, height, width


ROWS = {
    "wan22": Row(tiny_world, "blocks.1", 5, 32, 32),
    "wan21": Row(tiny_wan21, "blocks.1", 5, 32, 32),
    "cogvideox": Row(lambda folder: tiny_cogvideox(folder, scheduler="CogVideoXDDIMScheduler"), "transformer_blocks.1", 9, 32, 48),
    "svd": Row(tiny_unet_world, "mid_block", 3, 16, 24),
}


@pytest.fixture(scope="module", params=ROWS)
def surrogate(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Surrogate:
    row = ROWS[request.param]
    taps = ["error", row.layer, "latent", "vae.encoder.conv_in", "photo"]
    return Surrogate.from_pretrained(str(row.write(tmp_path_factory.mktemp("tiny"))), taps, row.height, row.width, row.frames, STEPS)


def photos(surrogate: Surrogate) -> Tensor:
    return torch.rand(2, 3, surrogate.height, surrogate.width, generator=torch.Generator().manual_seed(1))


def test_features_come_in_the_order_of_computation(surrogate: Surrogate) -> None:
    draw = surrogate.draw(2, torch.Generator().manual_seed(0))
    image = photos(surrogate).requires_grad_()
    features = surrogate(image, surrogate.encode_text([PROMPT]), draw)
    (layer,) = (tap for tap in surrogate.taps if "block" in tap)
    assert list(features) == ["photo", "vae.encoder.conv_in", "latent", layer, "error"]
    for tap, value in features.items():
        assert len(value) == 2
        assert value.dtype == torch.float32
        (gradient,) = torch.autograd.grad(value.square().mean(), image, retain_graph=True)
        assert gradient.abs().amax((1, 2, 3)).min() > 0, tap
    assert torch.equal(features["latent"].flatten(1).var(1) > 0, torch.ones(2, dtype=torch.bool))


def test_who_answers_without_an_error_leads_the_pipelines_scheduler_back_to_the_clip(surrogate: Surrogate) -> None:
    """Independent of our formula: the pipeline's own last step, from the noisy latents and answer less error, gives the clip."""
    scheduler = copy.deepcopy(surrogate.pipeline.scheduler)
    scheduler.set_timesteps(STEPS)
    draw = surrogate.draw(2, torch.Generator().manual_seed(0), max_sigma=min(surrogate.sigmas))
    video = torch.rand(2, surrogate.num_frames, 3, surrogate.height, surrogate.width, generator=torch.Generator().manual_seed(2))
    draw = surrogate.with_reference(draw, video)
    text = surrogate.encode_text([PROMPT] * 2)
    with torch.no_grad():
        condition = surrogate.joined(surrogate.condition(photos(surrogate), draw.image_noise), text)
        noisy = surrogate.noisy(condition, draw)
        answer = surrogate.predict(condition, text, noisy, draw.timestep)
        error = surrogate.with_taps(["error"])(photos(surrogate), text, draw)["error"]
    sideways = error.transpose(1, 2) if answer.shape[1:3] != error.shape[1:3] else error
    scaled = (
        noisy * (scheduler.sigmas[draw.step] ** 2 + 1).sqrt()
        if scheduler.config.prediction_type == "v_prediction" and hasattr(scheduler, "sigmas")
        else noisy
    )  # the scheduler steps what `scale_model_input` was not applied to
    before = scheduler.timesteps[draw.step]
    result = scheduler.step(answer - sideways, before, scaled)
    clip = result.pred_original_sample if getattr(result, "pred_original_sample", None) is not None else result.prev_sample
    wanted = surrogate.clip(condition, draw).expand_as(clip)  # type: ignore[operator]
    asked = slice(1 if getattr(surrogate, "keep", None) is not None else 0, None)  # Wan 2.2 is asked nothing about the photo's own frame
    torch.testing.assert_close(clip[:, :, asked], wanted[:, :, asked], rtol=1e-3, atol=2e-3)


def test_the_error_is_nothing_where_the_photo_itself_stands(tmp_path: Path) -> None:
    surrogate = Surrogate.from_pretrained(str(tiny_world(tmp_path)), ["error"], 32, 32, 5, STEPS)
    error = surrogate(photos(surrogate), surrogate.encode_text([PROMPT]), surrogate.draw(2, torch.Generator().manual_seed(0)))["error"]
    assert error[:, :, 0].abs().max() == 0
    assert error[:, :, 1:].abs().amax((1, 3, 4)).min() > 0


def test_a_reference_is_the_same_for_every_photo(surrogate: Surrogate) -> None:
    draw = surrogate.draw(2, torch.Generator().manual_seed(0), max_sigma=0.9)
    referenced = surrogate.with_reference(draw, photos(surrogate))
    conditions = [surrogate.condition(value) for value in (photos(surrogate), 1 - photos(surrogate))]
    assert torch.equal(*(surrogate.noisy(condition, referenced) for condition in conditions))
    assert not torch.equal(*(surrogate.noisy(condition, draw) for condition in conditions))
    with pytest.raises(UsageError, match=r"a reference is a clip \(B, "):
        surrogate.with_reference(draw, photos(surrogate)[..., 1:])


def test_draws_keep_between_two_noise_levels(surrogate: Surrogate) -> None:
    middle = sorted(surrogate.sigmas)[len(surrogate.sigmas) // 2]
    random = torch.Generator().manual_seed(0)
    assert {surrogate.draw(1, random, middle, middle).sigma for _ in range(20)} == {middle}
    with pytest.raises(UsageError, match=r"no noise level lies between min_sigma 0\.5 and max_sigma 0\.4; the schedule's are"):
        surrogate.draw(1, random, 0.5, 0.4)


def test_all_blocks_are_needed_for_the_answer(tmp_path: Path) -> None:
    world = str(tiny_world(tmp_path))
    deep = {
        tap: Surrogate.from_pretrained(world, [tap], 32, 32, 5, features_only=True) for tap in ("error", "latent", "vae.encoder.conv_in")
    }
    assert {tap: len(made.denoiser.blocks) for tap, made in deep.items()} == {"error": 4, "latent": 1, "vae.encoder.conv_in": 1}  # type: ignore[arg-type]


def test_unknown_layers_of_the_autoencoder_are_named(tmp_path: Path) -> None:
    world = str(tiny_world(tmp_path))
    with pytest.raises(UsageError, match=r"no tap 'encoder\.blocks\.9' in AutoencoderKLWan"):
        Surrogate.from_pretrained(world, ["vae.encoder.blocks.9"], 32, 32, 5)
    decoder = Surrogate.from_pretrained(world, ["vae.decoder.conv_out"], 32, 32, 5)
    with pytest.raises(UsageError, match=r"AutoencoderKLWan gives no tensor at decoder\.conv_out when it encodes a photo"):
        decoder(photos(decoder), {}, decoder.draw(2, torch.Generator()))


def test_cogvideox_15_encodes_one_frame_more(tmp_path: Path) -> None:
    surrogate = Surrogate.from_pretrained(str(tiny_cogvideox_15(tmp_path)), ["error"], 32, 48, 9, STEPS)
    draw = surrogate.with_reference(surrogate.draw(2, torch.Generator()), photos(surrogate))
    assert draw.reference is not None
    assert draw.reference.shape == surrogate.latent_shape(2)
    torch.testing.assert_close(draw.reference[:, 0], draw.reference[:, 1])


def test_a_family_without_the_taps_says_so(tmp_path: Path) -> None:
    surrogate = Surrogate.from_pretrained(str(tiny_ltx(tmp_path)), ["decoded"], 64, 96, 9, STEPS)
    draw = surrogate.draw(1, torch.Generator().manual_seed(0))
    with pytest.raises(UsageError, match="has no tap 'error' yet; it is there for Wan, CogVideoX and SVD"):
        surrogate.with_taps(["error"])
    with pytest.raises(UsageError, match="encodes no reference clips yet"):
        surrogate.with_reference(draw, torch.rand(1, 3, 64, 96))
