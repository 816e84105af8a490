"""The backbone generator: shapes at every bandwidth, a useful start, a dependence on its inputs, clear refusals."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.fft import idctn
from torch import Tensor, nn

from anti_i2v.errors import UsageError
from anti_i2v.generators import BackboneGenerator
from anti_i2v.generators.backbone import SpaceName
from tests.tiny.judges import tiny_faces, write_faces

EPSILON = torch.tensor([8.0, 4.0])
KEY = torch.randn(2, 32, generator=torch.Generator().manual_seed(9))


def build(seed: int = 0, **settings: int) -> BackboneGenerator:
    torch.manual_seed(seed)
    return BackboneGenerator(**({"backbone": "test_resnet", "working_size": 32, "width": 16} | settings))  # type: ignore[arg-type]


def photos(size: int = 32, seed: int = 0) -> Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("chroma_size", "cutoff"), [(4, 4), (16, 16), (8, 32), (32, 12), (5, 7), (1, 1)])
def test_heads_have_the_requested_bandwidth_up_to_the_working_size(chroma_size: int, cutoff: int) -> None:
    generator = build(chroma_size=chroma_size, cutoff=cutoff)
    out = generator(photos(), EPSILON, KEY)
    assert out["lab"].shape == (2, 2, chroma_size, chroma_size)
    assert out["frequency"].shape == (2, 3, cutoff, cutoff)
    sum(x.square().sum() for x in out.values()).backward()
    assert [n for n, p in generator.named_parameters() if p.requires_grad and p.grad is None] == []  # DDP refuses idle parameters


@pytest.mark.parametrize("backbone", ["resnet10t", "mobilenetv4_conv_small_050", "edgenext_xx_small"])
def test_other_families_fit_by_name(backbone: str) -> None:
    out = BackboneGenerator(backbone, working_size=48, chroma_size=24, cutoff=16, width=16)(photos(48), EPSILON, KEY)
    assert out["lab"].shape == (2, 2, 24, 24)
    assert out["frequency"].shape == (2, 3, 16, 16)


def test_the_default_is_small_and_has_full_strength_residuals_before_training() -> None:
    torch.manual_seed(0)
    generator = BackboneGenerator()
    assert sum(p.numel() for p in generator.parameters()) < 10e6
    out = generator(photos(64), EPSILON, KEY)
    picture = idctn(out["frequency"].detach().double().numpy(), axes=(2, 3), norm="ortho")
    assert 1.0 < np.sqrt((picture**2).mean()) < 1.6
    assert 1.0 < out["lab"].square().mean().sqrt() < 1.6


@pytest.mark.parametrize(("space", "names"), [("dual", "lab frequency"), ("lab", "lab"), ("frequency", "frequency"), ("rgb", "rgb")])
def test_a_space_has_its_heads_and_no_others(space: SpaceName, names: str) -> None:
    torch.manual_seed(0)
    generator = BackboneGenerator("test_resnet", 32, 16, 16, 16, space=space)
    out = generator(photos(), EPSILON, KEY)
    assert list(out) == names.split()
    sum(x.square().sum() for x in out.values()).backward()
    assert [n for n, p in generator.named_parameters() if p.requires_grad and p.grad is None] == []
    # All paint with the same energy: of one head √2 times the amplitude that each of two has. The strength map begins at 0.92.
    local = 0.3 + 0.7 / (1 + math.exp(-2))
    assert sum(x.square().mean() for x in out.values()).item() == pytest.approx(2 * (1.3 * local) ** 2, rel=0.2)
    assert BackboneGenerator(**generator.config()).config() == generator.config()  # type: ignore[arg-type]


def test_an_unknown_space_is_named() -> None:
    with pytest.raises(UsageError, match=r"space is 'hsv'; choose one of dual, rgb, lab, frequency"):
        BackboneGenerator("test_resnet", 32, space="hsv")  # type: ignore[arg-type]


def test_output_depends_on_photo_and_epsilon_and_not_on_the_batch() -> None:
    generator = build().eval()
    both = generator(photos(), EPSILON, KEY)
    alone = generator(photos()[1:], EPSILON[1:], KEY[1:])
    stronger = generator(photos()[1:], EPSILON[:1], KEY[1:])
    for name in both:
        torch.testing.assert_close(both[name][1:], alone[name], atol=1e-4, rtol=0)  # of values about one
        assert not torch.allclose(stronger[name], alone[name], atol=1e-3)
        assert not torch.allclose(both[name][0], both[name][1], atol=1e-3)


def test_training_and_evaluation_mode_agree() -> None:
    """No batch norm is left, so an average of weights (EMA) needs no statistics."""
    generator = BackboneGenerator("resnet10t", 32, 8, 8, 16)
    assert not [m for m in generator.backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    assert not [n for n, _ in generator.backbone.named_buffers() if "running" in n]
    train, evaluation = generator.train()(photos(), EPSILON, KEY), copy.deepcopy(generator).eval()(photos(), EPSILON, KEY)
    torch.testing.assert_close(train, evaluation, atol=1e-4, rtol=0)


def test_the_key_decides_the_pattern_and_not_without_one() -> None:
    keyed, plain = build(keyed=True).eval(), build(keyed=False).eval()
    first, other = (keyed(photos(), EPSILON, key) for key in (KEY, KEY.flip(0)))
    for name, values in first.items():
        assert values.abs().max() > 0.5
        assert torch.cosine_similarity(values.flatten(1), other[name].flatten(1)).abs().max() < 0.98
    torch.testing.assert_close(plain(photos(), EPSILON, KEY), plain(photos(), EPSILON, -KEY), rtol=0, atol=0)


def test_people_are_found_alike_in_training_and_the_salience_network_is_not_trained() -> None:
    generator = BackboneGenerator("test_resnet", 32, 8, 8, 16).train()
    image = photos(48)
    before = generator.salience(image)
    assert not any(p.requires_grad for p in generator.salience.parameters())
    assert torch.equal(generator.salience(image), before)  # batch statistics would have moved
    assert torch.equal(generator.eval().salience(image), before)
    assert "salience" not in generator.config()


def test_config_rebuilds_the_same_architecture() -> None:
    generator = build(chroma_size=8, cutoff=4)
    twin = BackboneGenerator(**generator.config())  # type: ignore[arg-type]
    twin.load_state_dict(generator.state_dict())
    torch.testing.assert_close(twin(photos(), EPSILON, KEY), generator(photos(), EPSILON, KEY))
    assert not any("basis" in key for key in generator.state_dict())


def test_a_few_steps_lower_the_loss() -> None:
    """From scratch it can follow a target that depends on the photo."""
    generator = build(chroma_size=8, cutoff=8)
    optimizer = torch.optim.AdamW(generator.parameters(), lr=2e-3)
    image = photos()
    slope = torch.linspace(-1, 1, 8).view(1, 1, 1, 8).expand(1, 1, 8, 8)  # one photo's field rises, the other's falls
    target = torch.cat([slope, -slope]).expand(2, 2, 8, 8)
    losses = []
    for _ in range(25):
        out = generator(image, EPSILON, KEY)
        loss = (1 - torch.cosine_similarity(out["lab"].flatten(1), target.flatten(1))).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.25 * losses[0]


def test_no_head_can_tint_the_whole_photo_or_grow_without_bound() -> None:
    """A uniform tint moves features and clips without harming the video, and training ends in it if it can."""
    generator = build(chroma_size=8, cutoff=8)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.mul_(5.0)
        out = generator(photos(), EPSILON, KEY)
    assert out["lab"].mean((2, 3)).abs().max() < 1e-5
    assert out["lab"].abs().max() <= 4.8
    assert out["frequency"][:, :, 0, 0].abs().max() < 1e-4  # the constant coefficient


def test_impossible_settings_are_refused_with_the_remedy() -> None:
    with pytest.raises(UsageError, match=r"unknown backbone 'convnextv2_ato'; close names: .*convnextv2_atto"):
        BackboneGenerator("convnextv2_ato")
    with pytest.raises(UsageError, match="cutoff 65 must be between 1 and working_size 64"):
        BackboneGenerator(cutoff=65)
    with pytest.raises(UsageError, match="width 20"):
        BackboneGenerator(width=20)
    with pytest.raises(UsageError, match="channels last"):
        BackboneGenerator("mambaout_femto", working_size=32, chroma_size=4, cutoff=4)


FACE = {"backbone": "resnet10t", "backbone_width": 8, "frozen_norm": True, "working_size": 32, "chroma_size": 8, "cutoff": 8, "width": 16}


def test_a_backbone_that_starts_from_an_identity_embedder_sees_what_that_network_sees(tmp_path: Path) -> None:
    generator = BackboneGenerator(**FACE, start_from=str(write_faces(tmp_path)))  # type: ignore[arg-type]
    network, image = tiny_faces().half().float(), torch.rand(2, 3, 32, 32)
    seen = torch.cat(((image - 0.5) * 4, torch.rand(2, 1, 32, 32)), dim=1)  # whatever epsilon is
    features = generator.backbone.train()(seen)  # fixed statistics: training mode changes nothing
    torch.testing.assert_close(features[-1], network.network.forward_features(2 * image - 1), rtol=1e-4, atol=1e-4)  # type: ignore[operator]
    again = BackboneGenerator(**generator.config())  # type: ignore[arg-type]
    again.load_state_dict(generator.state_dict())
    assert "start_from" not in generator.config()


def test_an_identity_embedder_that_does_not_fit_is_refused_with_the_remedy(tmp_path: Path) -> None:
    folder = str(write_faces(tmp_path))
    with pytest.raises(UsageError, match="frozen_norm=true"):
        BackboneGenerator(**{**FACE, "frozen_norm": False}, start_from=folder)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="give backbone and backbone_width of that network"):
        BackboneGenerator(**{**FACE, "backbone_width": 16}, start_from=folder)  # type: ignore[arg-type]
