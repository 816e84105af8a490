"""The second stage: it calls its network exactly as the pipeline does, and completes the folder."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.portraits import ACTIONS, PortraitClips
from anti_i2v.portraits.training import pipeline
from anti_i2v.portraits.training.denoiser import DenoiserModule, add_noise, as_typed, sample_sigma, token_timesteps
from anti_i2v.portraits.training.latents import LatentData
from tests.tiny.stages import BANK, DENOISER, fit


def test_noise_reaches_every_frame_but_the_first() -> None:
    latents, noise = torch.full((2, 1, 3, 2, 2), 2.0), torch.full((2, 1, 3, 2, 2), -1.0)
    out = add_noise(latents, torch.tensor([0.25, 1.0]), noise)
    assert out[:, 0, 0].eq(2.0).all()
    assert out[0, 0, 1:].eq(0.75 * 2 - 0.25).all()
    assert out[1, 0, 1:].eq(-1.0).all()


def test_noise_levels_are_spread_as_the_samplers_steps() -> None:
    from diffusers import UniPCMultistepScheduler

    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=2.0)
    scheduler.set_timesteps(200)
    levels = sample_sigma(4000, 2.0, torch.Generator().manual_seed(0)).sort().values
    assert levels.mean().item() == pytest.approx(0.6137, abs=0.002)  # 2 (1 - ln 2)
    theirs = scheduler.sigmas[:-1].sort().values
    assert torch.allclose(levels.view(200, 20).mean(1), theirs, atol=0.015)


def test_prompts_are_typed_in_four_ways() -> None:
    assert {as_typed("a person nods", d / 10) for d in range(10)} == {
        "a person nods",
        "A person nods",
        "a person nods.",
        "A person nods.",
    }


@pytest.fixture(scope="module")
def trained(trained_autoencoder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DenoiserModule]:
    """Two steps of the second stage, then two more from its checkpoint."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("denoiser")
    video_model = shutil.copytree(trained_autoencoder, folder / "portrait-dit")
    for steps, resume in ((2, None), (4, folder / "last.ckpt")):
        module = DenoiserModule(str(video_model), **DENOISER, warmup=1)  # type: ignore[arg-type]
        trainer = fit(module, LatentData(str(video_model), batch_size=2, **BANK), steps, folder, resume)  # type: ignore[arg-type]
        assert trainer.global_step == steps
    return video_model, module


def test_the_folder_is_a_complete_pipeline_in_single_precision(trained: tuple[Path, DenoiserModule]) -> None:
    from diffusers import DiffusionPipeline, WanImageToVideoPipeline

    pipe = DiffusionPipeline.from_pretrained(str(trained[0]))
    assert isinstance(pipe, WanImageToVideoPipeline)
    assert pipe.config.expand_timesteps
    assert {part.dtype for part in (pipe.vae, pipe.transformer, pipe.text_encoder)} == {torch.float32}
    assert sorted(p.name for p in trained[0].iterdir()) == sorted(
        ["model_index.json", "scheduler", "text_encoder", "tokenizer", "transformer", "vae", "world.json"]
    )


def test_training_calls_the_network_as_the_pipeline_does(trained: tuple[Path, DenoiserModule]) -> None:
    from diffusers import DiffusionPipeline

    video_model, module = trained
    pipe = DiffusionPipeline.from_pretrained(str(video_model))
    pipe.set_progress_bar_config(disable=True)
    calls: list[dict[str, Tensor]] = []
    pipe.transformer.register_forward_pre_hook(lambda _, args, kwargs: calls.append(kwargs), with_kwargs=True)
    clip = PortraitClips("test", num_frames=5, height=32, width=32).batch([0])
    prompt = ACTIONS[3].prompts[0]
    latents = pipeline.encode(pipe.vae, clip.video)
    mean, std = pipeline.statistics(pipe.vae, latents)
    latents = (latents - mean) / std
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    call = {"height": 32, "width": 32, "num_frames": 5, "guidance_scale": 1.0, "output_type": "latent", "num_inference_steps": 2}
    pipe(image=clip.video[:, 0], prompt=prompt, latents=noise, max_sequence_length=pipeline.TEXT_LENGTH, **call)
    sigma = torch.tensor([calls[0]["timestep"].max().item() / 1000])
    assert sigma.item() == pytest.approx(1.0, abs=0.01)
    torch.testing.assert_close(calls[0]["timestep"].float(), token_timesteps(sigma, latents))
    torch.testing.assert_close(calls[0]["hidden_states"], add_noise(latents, torch.ones(1), noise), rtol=1e-4, atol=1e-4)
    own = module.encode_text([prompt])
    torch.testing.assert_close(calls[0]["encoder_hidden_states"], own, rtol=0, atol=2e-3 * own.abs().max().item())  # half in the folder


def test_a_network_that_knows_the_velocity_has_no_loss(trained: tuple[Path, DenoiserModule]) -> None:
    class Knowing(torch.nn.Module):
        def forward(self, hidden_states: Tensor, **_: object) -> tuple[Tensor]:
            velocity = noise - latents
            velocity[:, :, 0] = 1e6  # the first frame is never scored
            return (velocity,)

    latents, noise = torch.randn(2, 4, 3, 4, 4), torch.randn(2, 4, 3, 4, 4)
    errors = trained[1].errors(Knowing(), {"latents": latents, "face": latents, "prompt": ["a person nods", ""]}, torch.rand(2), noise)
    assert errors.shape == (2, 2, 4, 4)
    assert bool((errors == 0).all())


@pytest.mark.parametrize(("face_weight", "expected"), [(0.0, 5 / 8), (3.0, (4 * 4 + 2.5 * 1) / (4 + 2.5 + 6))])
def test_a_cell_that_the_face_covers_counts_more_in_the_loss(face_weight: float, expected: float) -> None:
    class Wrong(torch.nn.Module):
        """Off by 2 in one cell and by 1 in another; of latents that are zero, the velocity is the noise."""

        def forward(self, hidden_states: Tensor, timestep: Tensor, **_: object) -> tuple[Tensor]:
            velocity = hidden_states / (timestep.max() / 1000)
            velocity[0, :, 1, 0, 0] += 2
            velocity[0, :, 2, 1, 1] -= 1
            return (velocity,)

    module = DenoiserModule("unused", text_dropout=1.0, face_weight=face_weight)
    module.network, module.texts, module.random = Wrong(), {"": torch.zeros(24, 64)}, torch.Generator().manual_seed(0)
    face = torch.zeros(1, 1, 3, 2, 2)
    face[:, :, 0] = 1  # the clean frame is never scored
    face[0, 0, 1, 0, 0], face[0, 0, 2, 1, 1] = 1, 0.5
    loss = module.training_step({"latents": torch.zeros(1, 4, 3, 2, 2), "face": face, "prompt": ["a person nods"]}, 0)
    # squared errors 4 and 1 in two of eight noisy cells, of weight 1 + face_weight and 1 + face_weight / 2
    assert float(loss) == pytest.approx(expected, rel=1e-4)


def test_a_run_starts_from_the_denoiser_of_a_folder(trained: tuple[Path, DenoiserModule]) -> None:
    from safetensors.torch import load_file

    video_model = trained[0]
    module = DenoiserModule(str(video_model), **DENOISER, start_from=str(video_model))  # type: ignore[arg-type]
    module.configure_model()
    (file,) = (video_model / "transformer").glob("*.safetensors")
    file_weights = load_file(file)
    for network in (module.network, module.ema):
        assert network is not None
        weights = network.state_dict()
        assert weights.keys() == file_weights.keys()
        assert {value.dtype for value in weights.values()} == {torch.float32}
        assert all(torch.equal(value, file_weights[name].float()) for name, value in weights.items())
    assert all(p.requires_grad for p in module.network.parameters())  # type: ignore[union-attr]


def test_a_denoiser_that_cannot_be_gone_on_from_is_refused(trained: tuple[Path, DenoiserModule], trained_autoencoder: Path) -> None:
    sizes = {**DENOISER, "layers": 3}
    with pytest.raises(UsageError, match="has networks of other sizes than this run is set to"):
        DenoiserModule(str(trained[0]), **sizes, start_from=str(trained[0])).configure_model()  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"no transformer in .*portrait-dit; give the folder of a trained pipeline"):
        DenoiserModule(str(trained[0]), **DENOISER, start_from=str(trained_autoencoder)).configure_model()  # type: ignore[arg-type]


def test_a_checkpoint_holds_the_network_and_its_average_and_nothing_frozen(trained: tuple[Path, DenoiserModule]) -> None:
    state = torch.load(trained[0].parent / "last.ckpt", weights_only=True)["state_dict"]
    assert {name.split(".")[0] for name in state} == {"network", "ema"}
