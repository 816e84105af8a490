"""The networks of the first video model: real Wan classes, made without a download, saved so that diffusers loads them."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from anti_i2v.errors import UsageError
from anti_i2v.portraits import ACTIONS
from anti_i2v.portraits.training import pipeline
from anti_i2v.pretraining.folder import save_part
from anti_i2v.surrogates.fast_wan_vae import accelerate_vae
from tests.tiny.stages import DENOISER, VAE

PROMPTS = [prompt for action in ACTIONS for prompt in action.prompts]


@pytest.mark.parametrize("frames", [1, 5])
def test_the_quick_autoencoder_computes_the_same_and_passes_the_same_gradient(frames: int) -> None:
    torch.manual_seed(0)
    plain = pipeline.build_autoencoder(**VAE).double()  # type: ignore[arg-type]
    quick = accelerate_vae(copy.deepcopy(plain))
    video = torch.rand(2, frames, 3, 32, 32, dtype=torch.float64)
    gradients = []
    for vae in (plain, quick):
        pixels = video.clone().requires_grad_()
        rebuilt = pipeline.decode(vae, pipeline.encode(vae, pixels))
        rebuilt.square().sum().backward()
        gradients.append((rebuilt.detach(), pixels.grad, vae.encoder.conv_in.weight.grad))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)  # upsampling and decoded pixels are fp32
    assert plain.state_dict().keys() == quick.state_dict().keys()


def test_a_clip_is_compressed_sixteen_times_in_space_and_twice_in_time() -> None:
    vae = pipeline.build_autoencoder(**VAE)  # type: ignore[arg-type]
    latents = pipeline.encode(vae, torch.rand(1, 9, 3, 64, 48))
    assert latents.shape == (1, 4, 5, 4, 3)
    assert pipeline.decode(vae, latents).shape == (1, 9, 3, 64, 48)


def test_the_first_latent_frame_of_a_clip_is_the_latent_of_its_photo() -> None:
    vae = pipeline.build_autoencoder(**VAE)  # type: ignore[arg-type]
    clip = torch.rand(1, 5, 3, 32, 32)
    torch.testing.assert_close(pipeline.encode(vae, clip)[:, :, :1], pipeline.encode(vae, clip[:, :1]))


def test_refuses_frames_that_the_autoencoder_would_drop() -> None:
    with pytest.raises(UsageError, match="8 frames"):
        pipeline.encode(pipeline.build_autoencoder(**VAE), torch.rand(1, 8, 3, 32, 32))  # type: ignore[arg-type]


def test_every_word_of_the_prompts_is_one_token_and_others_are_spelled() -> None:
    tokenizer = pipeline.build_tokenizer(PROMPTS)
    for prompt in PROMPTS:
        assert len(tokenizer(prompt).input_ids) == len(prompt.split()) + 1  # the end token
    spelled = tokenizer.convert_ids_to_tokens(tokenizer("person zaps").input_ids)
    assert spelled == ["▁person", "▁z", "a", "p", "s", "</s>"]
    assert tokenizer.unk_token_id not in tokenizer("What's (this)? 12 #%~").input_ids


def test_the_text_encoder_is_always_the_same_and_leaves_the_global_seed_alone() -> None:
    torch.manual_seed(5)
    before = torch.rand(1)
    torch.manual_seed(5)
    a, b = pipeline.build_text_encoder(50, 16), pipeline.build_text_encoder(50, 16)
    assert torch.equal(before, torch.rand(1))
    assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_saves_in_half_precision_and_leaves_the_network_and_no_other_file(tmp_path: Path) -> None:
    transformer = pipeline.build_denoiser(4, **DENOISER)
    save_part(transformer, tmp_path / "transformer")
    save_part(transformer, tmp_path / "transformer")  # over itself
    weights = load_file(tmp_path / "transformer" / "diffusion_pytorch_model.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.float16}
    assert transformer.dtype == torch.float32
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["config.json", "diffusion_pytorch_model.safetensors", "transformer"]


def test_a_text_encoder_in_half_precision_loads_in_float32_also_without_being_told(tmp_path: Path) -> None:
    encoder = pipeline.build_text_encoder(50, 16)
    save_part(encoder, tmp_path / "text_encoder")
    assert torch.float32 not in {value.dtype for value in load_file(tmp_path / "text_encoder" / "model.safetensors").values()}
    loaded = type(encoder).from_pretrained(tmp_path / "text_encoder", use_safetensors=True)
    assert {value.dtype for value in loaded.parameters()} == {torch.float32}
    for name, value in encoder.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value.half().float())


def test_a_folder_without_an_autoencoder_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="pretrain_portrait_autoencoder"):
        pipeline.load_autoencoder(tmp_path)
