"""The salience network and its folder."""

from pathlib import Path

import numpy as np
import pytest
import torch

from anti_i2v.errors import UsageError
from anti_i2v.generators.salience import SalienceNetwork, load_salience, save_salience


@pytest.fixture(scope="module")
def network() -> SalienceNetwork:
    """Random weights, all of them in use."""
    torch.manual_seed(0)
    network = SalienceNetwork(8).eval()
    torch.nn.init.normal_(network.head.weight, std=0.1)
    return network


@pytest.mark.parametrize(("height", "width"), [(24, 32), (37, 50), (1, 1), (16, 401), (3, 5)])
def test_the_map_has_a_cell_for_every_four_pixels_begun(network: SalienceNetwork, height: int, width: int) -> None:
    assert network(torch.rand(2, 3, height, width)).shape == (2, 4, -(-height // 4), -(-width // 4))


def test_what_stands_far_away_changes_nothing_here(network: SalienceNetwork) -> None:
    image = torch.rand(1, 3, 48, 256)
    other = image.clone()
    other[..., 160:] = torch.rand(1, 3, 48, 96)
    torch.testing.assert_close(network(image)[..., :24], network(other)[..., :24])


def test_it_is_as_small_as_it_is_meant_to_be() -> None:
    assert 50_000 < sum(p.numel() for p in SalienceNetwork().parameters()) < 70_000


def test_a_folder_gives_back_the_network(network: SalienceNetwork, tmp_path: Path) -> None:
    save_salience(network, tmp_path)
    loaded = load_salience(tmp_path)
    image = torch.rand(1, 3, 32, 40)
    torch.testing.assert_close(loaded(image), network(image), rtol=0.02, atol=0.01)  # weights in half precision
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())


def test_onnx_gives_the_same_map_at_any_size(network: SalienceNetwork, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    example, axes = torch.rand(1, 3, 24, 32), {"image": {0: "batch", 2: "height", 3: "width"}}
    torch.onnx.export(network, (example,), str(tmp_path / "m.onnx"), input_names=["image"], dynamic_axes=axes, dynamo=False)
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    for size in ((24, 32), (37, 50), (96, 61)):
        image = torch.rand(1, 3, *size)
        np.testing.assert_allclose(session.run(None, {"image": image.numpy()})[0], network(image).detach().numpy(), atol=1e-4)


def test_a_folder_without_weights_names_the_file_and_the_remedy(network: SalienceNetwork, tmp_path: Path) -> None:
    save_salience(network, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UsageError, match=r"no model\.safetensors in .*; give e\.g\. portrait-salience"):
        load_salience(tmp_path)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "does not describe a salience network"),
        ("[1]", "does not describe a salience network"),
        ('{"format": 1, "backbone": "resnet10t"}', "its kind is None, not 'salience'"),
        ('{"format": 7, "kind": "salience"}', "has format 7; this version of anti_i2v reads format 1"),
        ('{"format": 1, "kind": "salience", "width": 7}', "width of the salience network is 7; give an even number"),
        ('{"format": 1, "kind": "salience", "depth": 7}', "does not describe a salience network"),
        ('{"format": 1, "kind": "salience", "width": 16}', "does not hold the weights"),
    ],
)
def test_foreign_folders_are_refused_in_one_line(network: SalienceNetwork, tmp_path: Path, config: str, message: str) -> None:
    save_salience(network, tmp_path)
    (tmp_path / "config.json").write_text(config, encoding="utf-8")
    with pytest.raises(UsageError, match=message) as error:
        load_salience(tmp_path)
    assert "\n" not in str(error.value)


def test_broken_weights_are_refused(network: SalienceNetwork, tmp_path: Path) -> None:
    save_salience(network, tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(UsageError, match="does not hold the weights"):
        load_salience(tmp_path)
