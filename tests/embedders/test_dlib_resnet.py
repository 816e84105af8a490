"""dlib's face network: against dlib itself where it is installed, and on a small file in dlib's layout where it is not."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from anti_i2v.embedders import load_embedder
from anti_i2v.embedders.dlib_resnet import FILE, Affine, DlibEmbedder, read_weights
from anti_i2v.errors import UsageError
from anti_i2v.imaging.detection import models_folder

LEVELS = ((4, 2, False), (6, 1, True), (6, 1, True))
"""Three levels of few channels instead of five."""


def number(value: int) -> bytes:
    """A whole number as `dlib::serialize` writes it: how many bytes follow, then those, the lowest first."""
    length = max(1, (value.bit_length() + 7) // 8)
    return bytes([length]) + value.to_bytes(length, "little")


def tensor(values: np.ndarray, *sizes: int) -> bytes:
    return b"".join(number(n) for n in (2, *sizes)) + values.astype("<f4").tobytes()


def write_file(path: Path, network: DlibEmbedder) -> bytes:
    """Random weights in dlib's layout, which also become the network's."""
    random, parts = torch.Generator().manual_seed(0), [number(1), b"\x01\x0dloss_metric_2", number(3), bytes(7)]
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d) and layer.bias is not None:
                for weight in (layer.weight, layer.bias):
                    weight.copy_(0.3 * torch.randn(weight.shape, generator=random))
                values = np.concatenate([layer.weight.numpy().ravel(), layer.bias.numpy()])
                parts += [b"\x01\x05con_4", tensor(values, len(values), 1, 1, 1), number(layer.out_channels), bytes(5)]
            elif isinstance(layer, Affine):
                for weight in (layer.gamma, layer.beta):
                    weight.copy_(torch.randn(weight.shape, generator=random))
                values = np.concatenate([layer.gamma.numpy(), layer.beta.numpy()])
                parts += [b"\x01\x07affine_", tensor(values, len(values), 1, 1, 1), bytes(3)]
            elif isinstance(layer, nn.Linear):
                layer.weight.copy_(torch.randn(layer.weight.shape, generator=random))
                inputs, outputs = layer.in_features, layer.out_features
                parts += [b"\x01\x04fc_2", number(outputs), number(inputs), tensor(layer.weight.numpy().T, inputs, outputs, 1, 1), bytes(2)]
    path.write_bytes(b"".join(parts))
    return path.read_bytes()


def small() -> DlibEmbedder:
    return DlibEmbedder(LEVELS, dim=5).eval()


def test_reads_every_weight_of_a_file(tmp_path: Path) -> None:
    expected, loaded = small(), small()
    write_file(tmp_path / FILE, expected)
    read_weights(loaded, tmp_path / FILE)
    for (name, value), other in zip(loaded.state_dict().items(), expected.state_dict().values(), strict=True):
        assert torch.equal(value, other), name


def test_an_unusable_file_is_refused_in_one_line(tmp_path: Path) -> None:
    data = write_file(tmp_path / FILE, small())
    with pytest.raises(UsageError, match=r"no file .*nothing; give dlib_face_recognition_resnet_model_v1\.dat"):
        read_weights(small(), tmp_path / "nothing")
    first = data.index(b"con_4") + 5
    for content, message in (
        (b"", "expected a layer con_4 at byte 0 of 0"),
        (b"something else", "expected a layer con_4"),
        (data[: len(data) // 2], "or damaged: expected "),
        (data[:-3], "or damaged: expected 30 values"),
        (data[:first] + number(3) + data[first + 2 :], "instead of version 3"),
        (data[: first + 19] + np.float32("nan").tobytes() + data[first + 23 :], "expected finite values"),
        (data.replace(b"fc_2", b"fc_3"), "expected a layer fc_2"),
    ):
        (tmp_path / FILE).write_bytes(content)
        with pytest.raises(UsageError, match=message) as error:
            read_weights(small(), tmp_path / FILE)
        assert "\n" not in str(error.value)
        assert "give dlib_face" in str(error.value)
    write_file(tmp_path / FILE, small())
    with pytest.raises(UsageError, match="a tensor of version 2 with 1184 values, instead of version 2 and sizes"):
        read_weights(DlibEmbedder(((8, 1, False),), dim=5), tmp_path / FILE)  # another network


def test_maps_of_different_sizes_are_added_as_if_filled_up_with_zeros() -> None:
    network = DlibEmbedder(((2, 1, False), (4, 1, True)), dim=3)
    block = network.blocks[1]
    with torch.no_grad():
        for weight in block.parameters():
            weight.zero_()
    x = torch.rand(1, 2, 5, 5)  # averaged to 2 x 2; the convolution gives 2 x 2 and four channels
    out = block(x)
    assert out.shape == (1, 4, 2, 2)
    torch.testing.assert_close(out[0, :2, 0, 0], x[0, :, :2, :2].mean((1, 2)))
    assert float(out[0, 2:].detach().abs().max()) == 0
    assert block(torch.rand(1, 2, 4, 4)).shape == (1, 4, 2, 2)  # the convolution gives 1 x 1


def test_embeddings_are_units_around_the_centre_and_pass_their_gradient(tmp_path: Path) -> None:
    network = small()
    write_file(tmp_path / FILE, network)
    faces = torch.rand(2, 3, 150, 150, requires_grad=True)
    descriptors = network.descriptor(faces)
    network.centre.copy_(descriptors.detach().mean(0))
    embedding, logit = network.embed(faces)
    torch.testing.assert_close(embedding[0], -embedding[1], atol=1e-4, rtol=0)  # two around their mean
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(2))
    assert logit.shape == (2,)
    embedding[0, 0].backward()
    assert faces.grad is not None
    assert float(faces.grad[0].abs().sum()) > 0


def test_it_needs_landmarks() -> None:
    network = small()
    with pytest.raises(UsageError, match="'dlib' reads aligned faces, and the photos have no landmarks; take them from a source"):
        network(torch.rand(1, 2, 3, 64, 64))
    landmarks = torch.tensor(network.template.points if network.template else ()).expand(1, 2, 5, 2).clone()
    landmarks[0, 1] = torch.nan
    _, presence = network.embed_frames(torch.rand(1, 2, 3, 150, 150), landmarks)
    assert presence[0].tolist() == pytest.approx([1, 0], abs=1e-6)
    with pytest.raises(UsageError, match=r"landmarks of 2 pictures are \(B, 5, 2\), not \(2, 3, 5, 2\)"):
        network.crop(torch.rand(2, 3, 64, 64), torch.zeros(2, 3, 5, 2))


def test_without_the_extra_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"'dlib' needs face-recognition-models, which is not installed; pip install 'anti-i2v\[faces\]'"):
        load_embedder("dlib", "judge")


def test_its_descriptors_are_those_of_dlib() -> None:
    dlib = pytest.importorskip("dlib", reason="needs anti-i2v[faces]")
    from skimage import data

    folder = models_folder("the test")
    chips = [data.astronaut()[60:210, 150:300], data.astronaut()[200:350, 300:450]]  # a face and none, 150 x 150
    own = dlib.face_recognition_model_v1(str(folder / FILE))
    expected = np.array([own.compute_face_descriptor(np.ascontiguousarray(chip)) for chip in chips])
    network = load_embedder("dlib", "objective")
    assert isinstance(network, DlibEmbedder)
    pictures = torch.from_numpy(np.stack(chips)).permute(0, 3, 1, 2).float() / 255
    np.testing.assert_allclose(network.descriptor(pictures).numpy(), expected, atol=1e-4)
    assert not any(p.requires_grad for p in network.parameters())
