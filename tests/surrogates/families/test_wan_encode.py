"""The Wan autoencoder chunk by chunk: the numbers of its own `encode`, and little kept for the backward pass."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from anti_i2v.surrogates.families.wan_encode import encode_in_chunks
from anti_i2v.surrogates.fast_wan_vae import accelerate_vae
from tests.surrogates.oracle import assert_close
from tests.tiny import tiny_vae
from tests.tiny.wan import tiny_causal_vae

Encode = Callable[[AutoencoderKLWan, Tensor], Tensor]


def residual_vae() -> AutoencoderKLWan:
    """The autoencoder of Wan 2.2 TI2V-5B at its own compression: 16 in each direction, 4 in time."""
    return AutoencoderKLWan(
        base_dim=8,
        decoder_base_dim=8,
        z_dim=4,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        is_residual=True,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_spatial=16,
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    )


@pytest.fixture(scope="module", params=[tiny_causal_vae, residual_vae, tiny_vae], ids=["causal", "residual", "residual-2x"])
def vae(request: pytest.FixtureRequest) -> AutoencoderKLWan:
    """As diffusers makes it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: AutoencoderKLWan = request.param()
    return model.requires_grad_(False).eval()


def encode(vae: AutoencoderKLWan, clip: Tensor) -> Tensor:
    latents: Tensor = vae.encode(clip).latent_dist.mode()
    return latents


def video(frames: int) -> Tensor:
    """Two clips `(2, 3, frames, 32, 16)` in [-1, 1], every frame of its own."""
    return torch.rand(2, 3, frames, 32, 16, generator=torch.Generator().manual_seed(3)) * 2 - 1


def slope(function: Encode, vae: AutoencoderKLWan, clip: Tensor) -> tuple[Tensor, Tensor]:
    """Latents, and the gradient of a sum in which each counts differently."""
    leaf = clip.clone().requires_grad_()
    latents = function(vae, leaf)
    weights = torch.randn(latents.shape, generator=torch.Generator().manual_seed(4))
    (gradient,) = torch.autograd.grad((latents * weights).sum(), leaf)
    return latents.detach(), gradient


def bytes_for_backward(function: Encode, vae: AutoencoderKLWan, clip: Tensor) -> int:
    """Bytes that autograd keeps between the two passes, the weights not counted, a memory shared by several tensors once."""
    weights = {p.untyped_storage().data_ptr() for p in vae.parameters()}
    memory: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            memory[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        latents = function(vae, clip.clone().requires_grad_())
    assert latents.requires_grad
    return sum(memory.values())


@pytest.mark.parametrize("frames", [1, 5, 13])
@pytest.mark.parametrize("accelerated", [False, True])
def test_values_and_gradients_are_those_of_the_autoencoder(vae: AutoencoderKLWan, frames: int, accelerated: bool) -> None:
    vae = accelerate_vae(copy.deepcopy(vae)) if accelerated else vae
    theirs, their_slope = slope(encode, vae, video(frames))
    mine, my_slope = slope(encode_in_chunks, vae, video(frames))
    assert torch.equal(mine, theirs)
    assert_close(my_slope, their_slope)


def test_every_chunk_carries_the_photos_gradient(vae: AutoencoderKLWan) -> None:
    photo = video(1).requires_grad_()
    latents = encode_in_chunks(vae, torch.cat([photo, torch.zeros(2, 3, 8, 32, 16)], dim=2))
    for frame in range(latents.shape[2]):
        (gradient,) = torch.autograd.grad(latents[:, :, frame].square().sum(), photo, retain_graph=True)
        assert gradient.abs().max() > 0


def test_chunks_keep_less_than_a_third_for_the_backward_pass(vae: AutoencoderKLWan) -> None:
    assert bytes_for_backward(encode_in_chunks, vae, video(17)) < 0.3 * bytes_for_backward(encode, vae, video(17))


def test_more_frames_keep_little_more_for_the_backward_pass(vae: AutoencoderKLWan) -> None:
    def growth(function: Encode) -> int:
        return bytes_for_backward(function, vae, video(17)) - bytes_for_backward(function, vae, video(9))

    assert growth(encode_in_chunks) < 0.3 * growth(encode)


def test_frames_that_fill_no_chunk_are_not_read_just_as_by_the_autoencoder(vae: AutoencoderKLWan) -> None:
    clip = video(7)
    assert torch.equal(encode_in_chunks(vae, clip), encode(vae, clip))
    assert torch.equal(encode_in_chunks(vae, clip), encode(vae, clip[:, :, :5]))


def test_another_encoding_between_the_passes_changes_no_gradient(vae: AutoencoderKLWan) -> None:
    clip = video(5).requires_grad_()
    latents = encode_in_chunks(vae, clip)
    between = encode(vae, video(9))  # the autoencoder is used before the chunks are computed again
    (gradient,) = torch.autograd.grad(latents.sum(), clip)
    leaf = video(5).requires_grad_()
    (expected,) = torch.autograd.grad(encode(vae, leaf).sum(), leaf)
    assert_close(gradient, expected)
    assert torch.equal(between, encode(vae, video(9)))


@pytest.mark.parametrize("frames", [1, 9])
def test_the_accelerated_autoencoder_is_the_same_function_of_clips(vae: AutoencoderKLWan, frames: int) -> None:
    fast = accelerate_vae(copy.deepcopy(vae))
    theirs, their_slope = slope(encode, vae, video(frames))
    mine, my_slope = slope(encode, fast, video(frames))
    assert_close(mine, theirs)
    assert_close(my_slope, their_slope)
    with torch.no_grad():
        assert_close(fast.decode(theirs).sample, vae.decode(theirs).sample)
