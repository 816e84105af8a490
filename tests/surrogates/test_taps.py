"""The taps that are no layers of the denoiser: the autoencoder's layers, the latent, and the denoiser's error."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.surrogates import Surrogate
from tests.surrogates.family import FAMILIES, STEPS, TinyModels
from tests.surrogates.oracle import assert_close
from tests.tiny.cogvideox import tiny_cogvideox

PROMPT = "a person nods"
ROWS = {"wan-2.2-5b": "blocks.1", "wan-2.1": "blocks.1", "cogvideox-ddim": "transformer_blocks.1", "svd": "mid_block"}
"""Families with a tap `error`, and a layer of their denoiser; of CogVideoX the scheduler whose step is a function of its arguments."""


@pytest.fixture(scope="module", params=ROWS)
def surrogate(request: pytest.FixtureRequest, tiny: TinyModels, tmp_path_factory: pytest.TempPathFactory) -> Surrogate:
    taps = ["error", ROWS[request.param], "latent", "vae.encoder.conv_in", "photo"]
    if request.param == "cogvideox-ddim":
        folder = tiny_cogvideox(tmp_path_factory.mktemp("ddim"), scheduler="CogVideoXDDIMScheduler")
        return FAMILIES["cogvideox-1.0"].surrogate(folder, taps=taps)
    return tiny.surrogate(request.param).with_taps(taps)


def photos_of(surrogate: Surrogate) -> Tensor:
    return torch.rand(2, 3, surrogate.height, surrogate.width, generator=torch.Generator().manual_seed(1))


def test_features_come_in_the_order_of_computation(surrogate: Surrogate) -> None:
    draw = surrogate.draw(2, torch.Generator().manual_seed(0))
    image = photos_of(surrogate).requires_grad_()
    features = surrogate(image, surrogate.encode_text([PROMPT]), draw)
    (layer,) = (tap for tap in surrogate.taps if "block" in tap)
    assert list(features) == ["photo", "vae.encoder.conv_in", "latent", layer, "error"]
    for tap, value in features.items():
        assert len(value) == 2
        assert value.dtype == torch.float32
        (gradient,) = torch.autograd.grad(value.square().mean(), image, retain_graph=True)
        assert gradient.abs().amax((1, 2, 3)).min() > 0, tap
    assert torch.equal(features["latent"].flatten(1).var(1) > 0, torch.ones(2, dtype=torch.bool))


def test_a_prediction_without_error_leads_the_pipelines_scheduler_back_to_the_clip(surrogate: Surrogate) -> None:
    """Independent of our formula: the pipeline's own last step, from noisy latents and the prediction less its error."""
    scheduler = copy.deepcopy(surrogate.pipeline.scheduler)
    scheduler.set_timesteps(STEPS)
    draw = surrogate.draw(2, torch.Generator().manual_seed(0), max_sigma=min(surrogate.sigmas))
    video = torch.rand(2, surrogate.num_frames, 3, surrogate.height, surrogate.width, generator=torch.Generator().manual_seed(2))
    draw = surrogate.with_reference(draw, video)
    text = surrogate.encode_text([PROMPT] * 2)
    with torch.no_grad():
        condition = surrogate.join_text(surrogate.condition(photos_of(surrogate), draw.image_noise), text)
        noisy = surrogate.noisy_latents(condition, draw)
        prediction = surrogate.predict(condition, text, noisy, draw.timestep)
        error = surrogate.with_taps(["error"])(photos_of(surrogate), text, draw)["error"]
    transposed = error.transpose(1, 2) if prediction.shape[1:3] != error.shape[1:3] else error
    scaled = (
        noisy * (scheduler.sigmas[draw.step] ** 2 + 1).sqrt()
        if scheduler.config.prediction_type == "v_prediction" and hasattr(scheduler, "sigmas")
        else noisy
    )  # the scheduler steps what `scale_model_input` was not applied to
    before = scheduler.timesteps[draw.step]
    result = scheduler.step(prediction - transposed, before, scaled)
    clip = result.pred_original_sample if getattr(result, "pred_original_sample", None) is not None else result.prev_sample
    expected = surrogate.clip_latents(condition, draw).expand_as(clip)  # type: ignore[operator]
    frames = slice(1 if getattr(surrogate, "noise_mask", None) is not None else 0, None)  # of Wan 2.2 the photo's own frame has no error
    assert_close(clip[:, :, frames], expected[:, :, frames], share=2e-3)


def test_the_error_is_zero_in_the_photos_own_frame(tiny: TinyModels) -> None:
    surrogate = tiny.surrogate("wan-2.2-5b").with_taps(["error"])
    error = surrogate(photos_of(surrogate), surrogate.encode_text([PROMPT]), surrogate.draw(2, torch.Generator().manual_seed(0)))["error"]
    assert error[:, :, 0].abs().max() == 0
    assert error[:, :, 1:].abs().amax((1, 3, 4)).min() > 0


def test_a_reference_is_the_same_for_every_photo(surrogate: Surrogate) -> None:
    draw = surrogate.draw(2, torch.Generator().manual_seed(0), max_sigma=0.9)
    referenced = surrogate.with_reference(draw, photos_of(surrogate))
    conditions = [surrogate.condition(value) for value in (photos_of(surrogate), 1 - photos_of(surrogate))]
    assert torch.equal(*(surrogate.noisy_latents(condition, referenced) for condition in conditions))
    assert not torch.equal(*(surrogate.noisy_latents(condition, draw) for condition in conditions))
    with pytest.raises(UsageError, match=r"a reference is a clip \(B, "):
        surrogate.with_reference(draw, photos_of(surrogate)[..., 1:])


def test_draws_stay_between_two_noise_levels(surrogate: Surrogate) -> None:
    middle = sorted(surrogate.sigmas)[len(surrogate.sigmas) // 2]
    random = torch.Generator().manual_seed(0)
    assert {surrogate.draw(1, random, middle, middle).sigma for _ in range(20)} == {middle}
    with pytest.raises(UsageError, match=r"no noise level lies between min_sigma 0\.5 and max_sigma 0\.4; the schedule's are"):
        surrogate.draw(1, random, 0.5, 0.4)


def test_the_error_needs_all_blocks(tiny: TinyModels) -> None:
    folder, family = tiny.folder("wan-2.2-5b"), FAMILIES["wan-2.2-5b"]
    loaded = {tap: family.surrogate(folder, taps=[tap], features_only=True) for tap in ("error", "latent", "vae.encoder.conv_in")}
    assert {tap: len(each.denoiser.blocks) for tap, each in loaded.items()} == {"error": 4, "latent": 1, "vae.encoder.conv_in": 1}  # type: ignore[arg-type]


def test_unknown_layers_of_the_autoencoder_are_named(tiny: TinyModels) -> None:
    surrogate = tiny.surrogate("wan-2.2-5b")
    with pytest.raises(UsageError, match=r"no tap 'encoder\.blocks\.9' in AutoencoderKLWan"):
        surrogate.with_taps(["vae.encoder.blocks.9"])
    decoder = surrogate.with_taps(["vae.decoder.conv_out"])
    with pytest.raises(UsageError, match=r"AutoencoderKLWan gives no tensor at decoder\.conv_out when it encodes a photo"):
        decoder(photos_of(decoder), {}, decoder.draw(2, torch.Generator()))


def test_cogvideox_15_encodes_one_frame_more(tiny: TinyModels) -> None:
    surrogate = tiny.surrogate("cogvideox-1.5")
    draw = surrogate.with_reference(surrogate.draw(2, torch.Generator()), photos_of(surrogate))
    assert draw.reference is not None
    assert draw.reference.shape == surrogate.latent_shape(2)
    torch.testing.assert_close(draw.reference[:, 0], draw.reference[:, 1])


def test_a_family_without_the_taps_refuses_them(tiny: TinyModels) -> None:
    surrogate = tiny.surrogate("ltx")
    with pytest.raises(UsageError, match="has no tap 'error' yet; it is there for Wan, CogVideoX and SVD"):
        surrogate.with_taps(["error"])
    with pytest.raises(UsageError, match="encodes no reference clips yet"):
        surrogate.with_reference(surrogate.draw(2, torch.Generator()), photos_of(surrogate))
