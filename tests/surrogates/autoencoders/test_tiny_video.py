"""Tiny distilled autoencoders of videos, by weights in TAEHV's layout."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.surrogates import Surrogate
from anti_i2v.surrogates.autoencoders.tiny_video import TinyVideoAutoencoder
from tests.tiny.autoencoders import tiny_video_weights

LAYOUTS = {"wan-2.1": (1, 4, (True, True, False)), "wan-2.2-5b": (2, 6, (True, True, False)), "ltx-2": (4, 8, (True, True, True))}
"""Model → patch, channels of its latents, which levels halve time."""


def write(folder: Path, name: str) -> Path:
    patch, channels, halves = LAYOUTS[name]
    save_file({key: value.half() for key, value in tiny_video_weights(patch, channels, halves=halves).items()}, folder / "tae.safetensors")
    return folder / "tae.safetensors"


def _conv(weights: dict[str, Tensor], name: str, x: Tensor, **options: int) -> Tensor:
    return F.conv2d(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"), **options)


def frames_one_by_one(weights: dict[str, Tensor], part: str, frames: list[Tensor], kinds: str) -> list[Tensor]:
    """A part of the layout written again, frame by frame in order: c conv, s conv with stride, m memory, p pool, g growth, u, r, t."""
    for i, kind in enumerate(kinds):
        name, out = f"{part}.{i}", list[Tensor]()
        before = torch.zeros_like(frames[0])
        if kind == "p":
            stride = weights[f"{name}.conv.weight"].shape[1] // frames[0].shape[0]
            groups = [torch.cat(frames[k : k + stride]) for k in range(0, len(frames), stride)]
            frames = [_conv(weights, f"{name}.conv", group) for group in groups]
            continue
        for frame in frames:
            if kind == "m":
                x = _conv(weights, f"{name}.conv.0", torch.cat([frame, before]), padding=1).relu()
                x = _conv(weights, f"{name}.conv.2", x, padding=1).relu()
                out.append((_conv(weights, f"{name}.conv.4", x, padding=1) + frame).relu())
                before = frame
            elif kind == "g":
                out += _conv(weights, f"{name}.conv", frame).split(frame.shape[0])
            elif kind in "cs":
                out.append(_conv(weights, name, frame, padding=1, stride=2 if kind == "s" else 1))
            else:
                functions = {
                    "r": torch.relu,
                    "t": lambda x: 3 * torch.tanh(x / 3),
                    "u": lambda x: F.interpolate(x[None], scale_factor=2)[0],
                }
                out.append(functions[kind](frame))
        frames = out
    return frames


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_photo_stands_still_for_one_latent_frame(name: str, tmp_path: Path) -> None:
    """Against the layout written a second time, one frame after the other, without batches."""
    patch, channels, halves = LAYOUTS[name]
    weights = {key: value.half().float() for key, value in tiny_video_weights(patch, channels, halves=halves).items()}
    size = 8 * patch * 2
    surrogate = Surrogate.from_pretrained(str(write(tmp_path, name)), ["decoded", "latent", "vae.encoder.4"], size, 2 * size)
    image = torch.rand(2, 3, size, 2 * size, generator=torch.Generator().manual_seed(0)).requires_grad_()
    features = surrogate(image, {}, surrogate.draw(2, torch.Generator().manual_seed(0)))
    assert features["latent"].shape == (2, channels, 1, 2, 4)
    assert len(features["vae.encoder.4"]) == 2
    time = 2 ** sum(halves)
    for k in range(2):
        latents = frames_one_by_one(weights, "encoder", [F.pixel_unshuffle(image[k], patch)] * time, "cr" + "psmmm" * 3 + "c")
        assert len(latents) == 1
        torch.testing.assert_close(features["latent"][k, :, 0], latents[0], atol=1e-5, rtol=1e-4)
        frames = frames_one_by_one(weights, "decoder", latents, "tcr" + "mmmugc" * 3 + "rc")
        decoded = F.pixel_shuffle(frames[time - 1], patch).clamp(0, 1)
        torch.testing.assert_close(features["decoded"][k], decoded, atol=1e-5, rtol=1e-4)
    (gradient,) = torch.autograd.grad(features["decoded"].square().mean(), image)
    assert gradient.isfinite().all()
    assert gradient.abs().amax((1, 2, 3)).min() > 0


def test_a_clip_has_as_many_frames_as_the_large_autoencoder_gives() -> None:
    vae = TinyVideoAutoencoder({name: value.shape for name, value in tiny_video_weights().items()})
    latents = vae.encode(torch.zeros(1, 3, 9, 16, 16)).latents
    assert latents.shape == (1, 4, 3, 2, 2)
    assert vae.decode(latents)[0].shape == (1, 3, 9, 16, 16)


def test_a_folder_with_one_file(tmp_path: Path) -> None:
    file = write(tmp_path, "wan-2.1")
    surrogate = Surrogate.from_pretrained(str(tmp_path), ["decoded"], 16, 16)
    assert type(surrogate.vae).__name__ == "TinyVideoAutoencoder"
    (tmp_path / "other.safetensors").write_bytes(file.read_bytes())
    with pytest.raises(UsageError, match=r"2 \.safetensors files, other\.safetensors, tae\.safetensors; name one of them"):
        Surrogate.from_pretrained(str(tmp_path), ["decoded"], 16, 16)


def test_other_weights_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    save_file({"layer.weight": torch.zeros(2, 3)}, file)
    with pytest.raises(UsageError, match=r"1 weights, such as layer\.weight; it begins with encoder\.0\.weight"):
        Surrogate.from_pretrained(str(file), ["latent"], 16, 16)
    save_file(tiny_video_weights() | {"extra": torch.zeros(1)}, file)
    with pytest.raises(UsageError, match="is not in the layout of TAEHV's weights"):
        Surrogate.from_pretrained(str(file), ["latent"], 16, 16)
    (tmp_path / "b.safetensors").write_bytes(b"nothing")
    with pytest.raises(UsageError, match=r"cannot read .*b\.safetensors"):
        Surrogate.from_pretrained(str(tmp_path / "b.safetensors"), ["latent"], 16, 16)
    with pytest.raises(UsageError, match="is a pickle"):
        Surrogate.from_pretrained(str(tmp_path / "taew2_1.pth"), ["latent"], 16, 16)


def test_a_file_without_a_decoder(tmp_path: Path) -> None:
    file = tmp_path / "encoder.safetensors"
    save_file({name: value for name, value in tiny_video_weights().items() if name.startswith("encoder")}, file)
    assert Surrogate.from_pretrained(str(file), ["latent"], 16, 16).taps == ("latent",)
    with pytest.raises(UsageError, match="no tap 'decoded'"):
        Surrogate.from_pretrained(str(file), ["decoded"], 16, 16)
