"""Perceptual distances on real networks of random weights, against the formula written out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from anti_i2v.embedders import load_embedder
from anti_i2v.errors import UsageError
from anti_i2v.objectives import LpipsObjective, PerceptualObjective
from anti_i2v.surrogates import Draw
from tests.tiny.judges import write_faces

DRAW = Draw(step=0, timestep=torch.tensor(999), sigma=1.0, noise=torch.zeros(2, 1))
NAME = "resnet10t"


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_faces(tmp_path_factory.mktemp("faces") / "one"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A timm model with its classifier, as they are published."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = timm.create_model(NAME, pretrained=False)
    file = tmp_path_factory.mktemp("timm") / "model.safetensors"
    save_file(dict(model.state_dict()), file)
    return file


def pictures(seed: int) -> Tensor:
    return torch.rand(2, 3, 48, 40, generator=torch.Generator().manual_seed(seed))


def by_hand(before: list[Tensor], after: list[Tensor]) -> float:
    """The mean over stages and positions of 2 - 2 cos, which unit vectors are apart by squared."""
    return sum(float((2 - 2 * torch.cosine_similarity(a, b, dim=1)).mean()) for a, b in zip(before, after, strict=True)) / len(before)


def test_it_is_the_squared_distance_of_unit_vectors_over_stages_and_positions(weights: Path) -> None:
    model = timm.create_model(NAME, pretrained=False, features_only=True, out_indices=(1, 3))
    full = timm.create_model(NAME, pretrained=False).eval()
    full.load_state_dict(load_file(weights))
    missing, _ = model.load_state_dict(full.state_dict(), strict=False)
    assert not missing
    mean, spread = (torch.tensor(full.pretrained_cfg[key]).view(3, 1, 1) for key in ("mean", "std"))
    a, b = pictures(0), pictures(1)
    with torch.no_grad():
        before, after = (model.eval()((x - mean) / spread) for x in (a, b))
    expected = by_hand(before, after)
    assert expected > 0.01
    loss, parts = PerceptualObjective(NAME, str(weights), stages=[1, 3])({"decoded": a}, {"decoded": b}, DRAW)
    assert float(parts["distance"]) == pytest.approx(expected, rel=1e-4)
    assert float(loss) == pytest.approx(-expected, rel=1e-4)


def test_an_identity_embedder_looks_at_its_own_size(faces: str) -> None:
    face = load_embedder(faces, "objective")
    a, b = pictures(0), pictures(1)
    with torch.no_grad():
        before, after = (face.network.forward_intermediates(2 * face.resize(x) - 1, intermediates_only=True) for x in (a, b))
    loss, _ = PerceptualObjective(faces)({"decoded": a}, {"decoded": b}, DRAW)
    assert float(loss) == pytest.approx(-by_hand(before, after), rel=1e-4)


def test_the_decoded_photo_is_pushed_away_and_the_photo_is_kept_near(faces: str) -> None:
    clean, first = pictures(0), 0.9 * pictures(0) + 0.1 * pictures(1)
    for tap, raised in (("decoded", True), ("photo", False)):
        choice: Any = tap
        objective = PerceptualObjective(faces, tap=choice)
        assert objective.needs == (tap,)
        leaf = first.clone().requires_grad_()
        loss, before = objective({tap: clean}, {tap: leaf}, DRAW)
        (gradient,) = torch.autograd.grad(loss, leaf)
        _, after = objective({tap: clean}, {tap: first - 1 / 255 * gradient.sign()}, DRAW)
        assert bool(after["distance"] > before["distance"]) == raised
        _, none = objective({tap: clean}, {tap: clean}, DRAW)
        assert float(none["distance"]) == pytest.approx(0, abs=1e-6)


def test_gradient_is_finite_at_no_change_and_none_reaches_the_network(faces: str) -> None:
    objective = PerceptualObjective(faces).train()
    leaf = pictures(0).requires_grad_()
    (gradient,) = torch.autograd.grad(objective({"decoded": pictures(0)}, {"decoded": leaf}, DRAW)[0], leaf)
    assert bool(gradient.isfinite().all())
    assert not objective.training  # batch statistics would be others
    assert not any(p.requires_grad for p in objective.parameters())


def test_unusable_networks_are_refused(faces: str, weights: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no file .*none\.safetensors; give the safetensors file with the weights of resnet10t"):
        PerceptualObjective(NAME, str(tmp_path / "none.safetensors"))
    with pytest.raises(UsageError, match="no folder 'portrait-facets'"):
        PerceptualObjective("portrait-facets")
    with pytest.raises(UsageError, match="timm has no model 'resnet_ten'"):
        PerceptualObjective("resnet_ten", str(weights))
    with pytest.raises(UsageError, match=r"model\.safetensors does not hold the weights of resnet14t"):
        PerceptualObjective("resnet14t", str(weights))
    save_file({name: value for name, value in load_file(weights).items() if "layer4" not in name}, tmp_path / "part.safetensors")
    with pytest.raises(UsageError, match=r"part\.safetensors lacks layer4\S+ and \d+ other weights of resnet10t"):
        PerceptualObjective(NAME, str(tmp_path / "part.safetensors"))
    (tmp_path / "text.safetensors").write_text("no weights")
    with pytest.raises(UsageError, match=r"text\.safetensors does not hold the weights of resnet10t; give another file"):
        PerceptualObjective(NAME, str(tmp_path / "text.safetensors"))
    stages: Any
    for stages in ([], [7], [-1]):
        with pytest.raises(UsageError, match=r"has no stages \[.*\]; it has 0 to 4"):
            PerceptualObjective(faces, stages=stages)
    tap: Any = "latent"
    with pytest.raises(UsageError, match="tap is 'latent'; give decoded to push pictures apart there, or photo"):
        PerceptualObjective(faces, tap=tap)
    with pytest.raises(UsageError, match="PerceptualObjective needs the taps decoded; add decoded"):
        PerceptualObjective(faces)({"photo": pictures(0)}, {"photo": pictures(0)}, DRAW)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Path]:
    """A folder of torch.hub's without weights."""
    before = torch.hub.get_dir()
    torch.hub.set_dir(tmp_path)
    yield tmp_path / "checkpoints"
    torch.hub.set_dir(before)


def test_lpips_without_its_weights_says_which_file_is_missing_where(hub: Path) -> None:
    with pytest.raises(UsageError, match=r"LPIPS needs alexnet-owt-7be5be79\.pth, which is not in .*checkpoints; put it there, or use"):
        LpipsObjective()
    assert not hub.exists()  # nothing was downloaded
    network: Any = "resnet"
    with pytest.raises(UsageError, match="network is 'resnet'; give alex, vgg, squeeze"):
        LpipsObjective(network)


def test_lpips_is_torchmetrics_own_number(hub: Path) -> None:
    from torchmetrics.functional.image.lpips import learned_perceptual_image_patch_similarity
    from torchvision.models import squeezenet1_1

    hub.mkdir()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.save(squeezenet1_1(weights=None).state_dict(), hub / "squeezenet1_1-b8a52dc0.pth")
    a, b = pictures(0), pictures(1)
    expected = float(learned_perceptual_image_patch_similarity(a, b, net_type="squeeze", normalize=True))
    assert math.isfinite(expected)
    assert expected > 0
    leaf = b.clone().requires_grad_()
    loss, parts = LpipsObjective("squeeze", "photo")({"photo": a}, {"photo": leaf}, DRAW)
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert float(parts["distance"]) == pytest.approx(expected, rel=1e-5)
    assert float(torch.autograd.grad(loss, leaf)[0].abs().max()) > 0
    pushed, _ = LpipsObjective("squeeze")({"decoded": a}, {"decoded": b}, DRAW)
    assert float(pushed) == pytest.approx(-expected, rel=1e-5)


def test_broken_lpips_weights_are_refused(hub: Path) -> None:
    hub.mkdir()
    (hub / "squeezenet1_1-b8a52dc0.pth").write_bytes(b"half a file")
    with pytest.raises(UsageError, match=r"cannot read .*squeezenet1_1-b8a52dc0\.pth: .*; copy it again"):
        LpipsObjective("squeeze")
