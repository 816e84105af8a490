"""The second video model's second stage: it calls its network exactly as the pipeline does, and completes the folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from anti_i2v.errors import UsageError
from anti_i2v.portraits import PortraitClips
from anti_i2v.portraits.training import unet_pipeline
from anti_i2v.portraits.training.latents import UnetLatentData
from anti_i2v.portraits.training.unet_denoiser import UnetBatch, UnetDenoiserModule, add_noise, sample_sigma, velocity
from anti_i2v.pretraining.folder import save_part
from anti_i2v.surrogates import Surrogate
from tests.tiny.stages import BANK, fit

UNET = {"channels": (32, 32), "embedding": 16, "image_width": 16, "image_layers": 1, "image_heads": 2, "patch": 56}


def test_the_scheduler_gets_the_clip_back_from_the_velocity() -> None:
    scheduler = unet_pipeline.build_pipeline(
        unet_pipeline.build_autoencoder((32, 32), 4, 1), nn.Module(), nn.Module(), 0.01, 100.0
    ).scheduler
    scheduler.set_timesteps(6)
    latents, noise = torch.randn(2, 1, 5, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    for step, sigma in enumerate(scheduler.sigmas[:-1]):
        level = sigma.view(1)
        noisy = add_noise(latents, level, noise)
        scheduler._step_index = step
        torch.testing.assert_close(scheduler.scale_model_input(latents + sigma * noise, scheduler.timesteps[step]), noisy)
        _, rebuilt = scheduler.step(velocity(latents, level, noise), scheduler.timesteps[step], latents + sigma * noise, return_dict=False)
        torch.testing.assert_close(rebuilt, latents, rtol=1e-3, atol=1e-3)
        assert scheduler.timesteps[step].item() == pytest.approx(0.25 * sigma.log().item(), abs=1e-6)


def test_noise_levels_are_log_normal_and_cover_every_batch() -> None:
    random = torch.Generator().manual_seed(0)
    logs = torch.cat([sample_sigma(8, 0.7, 1.6, random).log().sort().values[None] for _ in range(500)])
    assert logs.mean().item() == pytest.approx(0.7, abs=0.02)
    assert logs.std().item() == pytest.approx(1.6, abs=0.03)
    assert (logs[:, 3] <= 0.7).all()  # four of eight below the median, in every batch
    assert (logs[:, 4] >= 0.7).all()


def test_motion_is_hinted_with_the_root_of_the_change() -> None:
    still = torch.full((1, 3, 3, 8, 8), 0.5)
    moving = still.clone()
    moving[:, 1] += unet_pipeline.USUAL_MOTION
    buckets = [unet_pipeline.motion_bucket(video).item() for video in (still, moving, still + 4 * (moving - still))]
    assert buckets == [0, 127, 254]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, UnetDenoiserModule, UnetLatentData]:
    """Two steps of the stage on an autoencoder with random weights, then two more from its checkpoint."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("unet")
    video_model = folder / "portrait-unet"
    vae = unet_pipeline.build_autoencoder((32, 32), 4, 1)
    vae.register_to_config(scaling_factor=0.5)
    save_part(vae, video_model / "vae")
    for steps, resume in ((2, None), (4, folder / "last.ckpt")):
        module = UnetDenoiserModule(str(video_model), num_frames=5, **UNET, warmup=1)  # type: ignore[arg-type]
        data = UnetLatentData(str(video_model), batch_size=2, **BANK)  # type: ignore[arg-type]
        trainer = fit(module, data, steps, folder, resume)
        assert trainer.global_step == steps
    return video_model, module, data


Trained = tuple[Path, UnetDenoiserModule, UnetLatentData]


def test_the_folder_is_a_whole_pipeline_in_single_precision_that_animates(trained: Trained) -> None:
    from diffusers import DiffusionPipeline, StableVideoDiffusionPipeline

    pipe = DiffusionPipeline.from_pretrained(str(trained[0]))
    assert isinstance(pipe, StableVideoDiffusionPipeline)
    assert {part.dtype for part in (pipe.vae, pipe.unet, pipe.image_encoder)} == {torch.float32}
    parts = ["feature_extractor", "image_encoder", "model_index.json", "scheduler", "unet", "vae", "world.json"]
    assert sorted(p.name for p in trained[0].iterdir()) == parts
    surrogate = Surrogate.from_pretrained(str(trained[0]), ["mid_block"], 32, 32, 5, 2)
    assert surrogate.animate(torch.rand(1, 3, 32, 32), {}, seed=0).shape == (1, 5, 3, 32, 32)


def test_training_calls_the_network_as_the_pipeline_does(trained: Trained) -> None:
    folder, module, data = trained
    assert module.ema is not None
    surrogate = Surrogate.from_pretrained(str(folder), ["mid_block"], 32, 32, 5, 4)
    clip = PortraitClips("validation", num_frames=5, height=32, width=32).batch([0])
    photo = (clip.video[:, 0] * 255).round() / 255
    draw = surrogate.draw(1, torch.Generator().manual_seed(1))
    data.random.manual_seed(9)
    row = data.form(clip)
    draw_noise = torch.randn(photo.shape, generator=torch.Generator().manual_seed(9))
    (validation,) = data.validation
    batch: dict[str, Tensor] = {name: value[:1].clone() for name, value in validation.items() if isinstance(value, Tensor)}
    count = batch["latents"].numel()
    batch["image_latents"] = row[:, count : count + batch["image_latents"].numel()].float().view_as(batch["image_latents"])
    batch["motion"] = torch.full((1,), 127.0)
    calls: list[dict[str, Any]] = []

    class Asked(nn.Module):
        def forward(self, sample: Tensor, timestep: Tensor, **rest: Any) -> tuple[Tensor]:
            calls.append({"sample": sample, "timestep": timestep, **rest})
            return (torch.zeros_like(batch["latents"]),)

    level = surrogate.pipeline.scheduler
    level.set_timesteps(4)
    sigma = level.sigmas[draw.step].view(1)
    networks = nn.ModuleDict({"unet": Asked(), "image_encoder": module.ema.get_submodule("image_encoder")})
    module.errors(networks, batch, sigma, draw.noise)  # type: ignore[arg-type]
    latents = add_noise(batch["latents"], sigma, draw.noise)
    with torch.no_grad():
        theirs = surrogate.inputs(surrogate.condition(photo, draw_noise), {}, latents, surrogate.timesteps[draw.step])
    assert calls[0].pop("return_dict") is False
    assert calls[0].keys() == theirs.keys()
    for name, value in theirs.items():
        assert isinstance(value, Tensor)
        torch.testing.assert_close(calls[0][name].view_as(value), value, rtol=5e-3, atol=5e-3, msg=name)


def test_the_bank_keeps_what_belongs_together(trained: Trained) -> None:
    data = trained[2]
    batch = data.training_batch()
    shapes = {name: tuple(value.shape) for name, value in batch.items() if isinstance(value, Tensor)}
    assert shapes == {
        "latents": (2, 5, 4, 16, 16),
        "image_latents": (2, 1, 4, 16, 16),
        "photo": (2, 3, 32, 32),
        "motion": (2,),
        "face": (2, 5, 16, 16),
    }
    (validation,) = data.validation
    clip = PortraitClips("validation", num_frames=5, height=32, width=32).batch(range(4))
    torch.testing.assert_close(validation["photo"], clip.video[:, 0], rtol=0, atol=0.5 / 255 + 1e-3)
    torch.testing.assert_close(validation["motion"], unet_pipeline.motion_bucket(clip.video), rtol=1e-3, atol=0)
    share = clip.face_mask.mean((1, 2, 3, 4))
    torch.testing.assert_close(validation["face"].mean((1, 2, 3)), share, rtol=1e-2, atol=1e-4)
    expected = 0.5 * unet_pipeline.encode(data.vae, clip.video)  # the folder's scaling factor
    torch.testing.assert_close(validation["latents"], expected, rtol=5e-3, atol=5e-3)
    # The photo's own latent is not scaled, and has noise on it.
    difference = validation["image_latents"][:, 0] - 2 * validation["latents"][:, 0]
    assert 0 < difference.abs().mean() < 0.2 * validation["image_latents"].abs().mean()


def test_the_photo_is_left_out_by_route(trained: Trained) -> None:
    module, (validation,) = trained[1], trained[2].validation
    batch: UnetBatch = validation  # type: ignore[assignment]
    inputs: list[tuple[Tensor, Tensor]] = []

    class Asked(nn.Module):
        def forward(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor, **_: Any) -> tuple[Tensor]:
            inputs.append((sample[:, :, 4:].abs().amax((1, 2, 3, 4)) > 0, encoder_hidden_states.abs().amax((1, 2)) > 0))
            return (torch.zeros_like(batch["latents"]),)

    assert module.ema is not None
    networks = nn.ModuleDict({"unet": Asked(), "image_encoder": module.ema.get_submodule("image_encoder")})
    dropout = torch.tensor([0.05, 0.15, 0.25, 0.9])
    module.errors(networks, {**batch, "dropout": dropout}, torch.ones(4), torch.randn_like(batch["latents"]))
    assert [part.tolist() for part in inputs[0]] == [[False, False, True, True], [False, True, True, True]]


def test_a_network_that_knows_the_velocity_has_no_loss(trained: Trained) -> None:
    module, (validation,) = trained[1], trained[2].validation
    batch: UnetBatch = validation  # type: ignore[assignment]
    sigma, noise = torch.tensor([0.1, 1.0, 5.0, 50.0]), torch.randn_like(batch["latents"])

    class Knowing(nn.Module):
        def forward(self, sample: Tensor, timestep: Tensor, **_: Any) -> tuple[Tensor]:
            return (velocity(batch["latents"], sigma, noise),)

    assert module.ema is not None
    networks = nn.ModuleDict({"unet": Knowing(), "image_encoder": module.ema.get_submodule("image_encoder")})
    assert not module.errors(networks, batch, sigma, noise).any()


def test_both_networks_learn_and_a_checkpoint_holds_nothing_frozen(trained: Trained) -> None:
    state = torch.load(trained[0].parent / "last.ckpt", weights_only=True)["state_dict"]
    assert {".".join(name.split(".")[:2]) for name in state} == {f"{a}.{b}" for a in ("network", "ema") for b in ("unet", "image_encoder")}
    assert trained[1].network is not None
    assert all(p.requires_grad for p in trained[1].network.parameters())


def test_a_second_cycle_starts_from_the_folders_weights(trained: Trained, tmp_path: Path) -> None:
    folder, module, _ = trained
    assert module.ema is not None
    again = UnetDenoiserModule(str(folder), num_frames=5, **UNET, start_from=str(folder))  # type: ignore[arg-type]
    again.configure_model()
    assert again.network is not None
    weights = {name: value.half() for name, value in module.ema.get_submodule("unet").state_dict().items()}
    assert all(torch.equal(value.half(), weights[name]) for name, value in again.network.get_submodule("unet").state_dict().items())
    other = UnetDenoiserModule(str(folder), num_frames=5, **{**UNET, "channels": (32, 64)}, start_from=str(folder))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="has networks of other sizes"):
        other.configure_model()
    wider = tmp_path / "wider"
    save_part(unet_pipeline.build_autoencoder((32, 32), 8, 1), wider / "vae")
    third = UnetDenoiserModule(str(wider), num_frames=5, **UNET, start_from=str(folder))  # type: ignore[arg-type]
    third.configure_model()
    assert third.network is not None
    own = {name: value.half() for name, value in third.network.get_submodule("unet").state_dict().items()}
    assert {name for name, value in own.items() if value.shape != weights[name].shape} == {
        "conv_in.weight",
        "conv_out.weight",
        "conv_out.bias",
    }
    assert all(torch.equal(own[name], weights[name]) for name in own if own[name].shape == weights[name].shape)
    with pytest.raises(UsageError, match="no unet in"):
        UnetDenoiserModule(str(folder), start_from=str(folder.parent)).configure_model()
