"""An autoencoder alone makes of a photo what the pipelines' own surrogates make of it, and says what it cannot do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from anti_i2v.attacks import named_method
from anti_i2v.errors import UsageError
from anti_i2v.objectives import FeatureObjective
from anti_i2v.surrogates import Surrogate
from anti_i2v.surrogates.autoencoders.classes import PICTURES, VIDEOS, latent_factor
from anti_i2v.surrogates.pipeline import PipelineSurrogate
from anti_i2v.training.feature_loss import feature_loss
from tests.surrogates.family import FAMILIES, TinyModels
from tests.tiny.autoencoders import BUILDERS, write
from tests.tiny.parts import edit_json

TAPS = ["decoded", "latent", "photo"]
SIZE = (32, 64)
FAMILIES_BY_CLASS = ("cogvideox-1.5", "hunyuan-video-replace", "hunyuan-video-1.5", "ltx-0.9.1", "ltx-2", "svd", "wan-2.1", "wan-2.2-5b")
"""A family of each class of the nine that diffusers has a pipeline for."""


def photos_of(surrogate: Surrogate) -> Tensor:
    return torch.rand(2, 3, surrogate.height, surrogate.width, generator=torch.Generator().manual_seed(1))


def noise(surrogate: Surrogate, batch: int = 2) -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("autoencoders")
    return {name: write(build, root / name) for name, build in BUILDERS.items()}


@pytest.fixture(scope="module")
def wan(folders: dict[str, Path]) -> Surrogate:
    return Surrogate.from_pretrained(str(folders["AutoencoderKLWan"]), TAPS, *SIZE)


@pytest.mark.parametrize("name", FAMILIES_BY_CLASS)
def test_it_encodes_and_decodes_as_the_pipeline_does(name: str, tiny: TinyModels) -> None:
    family = FAMILIES[name]
    whole = tiny.surrogate(name)
    assert isinstance(whole, PipelineSurrogate)
    alone = Surrogate.from_pretrained(f"{tiny.folder(name)}/vae", ["decoded", "latent"], family.height, family.width)
    image = photos_of(alone)
    with torch.no_grad():
        condition = whole.condition(image)
        features = alone(image, alone.encode_text(["a person"]), alone.draw(2, noise(alone)))
        decoded, latent = whole.reconstruct(condition), whole.latent(condition)
    torch.testing.assert_close(features["decoded"], decoded, atol=1e-5, rtol=1e-5)
    first = latent[:, :, :1] if latent.ndim == 5 else latent  # of Wan 2.1 the latents of grey frames follow
    scale = features["latent"].flatten() @ first.flatten() / first.flatten().square().sum()  # a common factor changes no distance
    torch.testing.assert_close(features["latent"], first * scale, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", BUILDERS)
def test_every_class_is_differentiable_and_treats_photos_alone(name: str, folders: dict[str, Path]) -> None:
    surrogate = Surrogate.from_pretrained(str(folders[name]), TAPS, *SIZE)
    image = photos_of(surrogate).requires_grad_()
    draw = surrogate.draw(2, noise(surrogate))
    features = surrogate(image, {}, draw)
    assert list(features) == ["photo", "latent", "decoded"]
    assert features["decoded"].shape == image.shape
    factor = latent_factor(surrogate.vae)
    assert features["latent"].shape[-2:] == (SIZE[0] // factor, SIZE[1] // factor)
    for tap, value in features.items():
        (gradient,) = torch.autograd.grad(value.square().mean(), image, retain_graph=True)
        assert gradient.isfinite().all(), tap
        assert gradient.abs().amax((1, 2, 3)).min() > 0, tap
    single = surrogate(image[1:], {}, surrogate.draw(1, noise(surrogate)))
    torch.testing.assert_close(features["decoded"][1:], single["decoded"], atol=1e-4, rtol=1e-4)
    assert not any(parameter.requires_grad for parameter in surrogate.parameters())
    assert not surrogate.train().training


def test_every_class_is_tested() -> None:
    assert set(BUILDERS) == {*PICTURES, *VIDEOS}


def test_a_draw_is_unit_noise_of_the_generator(wan: Surrogate) -> None:
    draws = [wan.draw(4000, torch.Generator().manual_seed(seed), 0.75).noise for seed in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert draws[0].flatten(1).shape[1] >= 3
    assert draws[0].std().item() == pytest.approx(1, abs=0.03)


def test_feature_loss_and_layers_of_the_encoder(wan: Surrogate) -> None:
    surrogate = wan.with_taps(["decoded", "vae.encoder.conv_in"])
    clean = torch.rand(2, 3, 40, 50, generator=torch.Generator().manual_seed(3))
    protected = (clean + 0.02 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(4))).requires_grad_()
    objective = FeatureObjective(centred=True)
    loss, parts = feature_loss(surrogate, objective, clean, protected, {}, surrogate.draw(2, noise(surrogate)), clean[:, None])
    (gradient,) = torch.autograd.grad(loss, protected)
    assert loss < 0
    assert set(parts) == {"decoded", "vae.encoder.conv_in"}
    assert gradient.abs().max() > 0


def test_an_attack_photo_by_photo(wan: Surrogate) -> None:
    photo = photos_of(wan)[:1]
    method = named_method("photoguard", wan)
    results = method.run(wan, photo, {}, 8, noise(wan), 3)
    assert 0 < 255 * (results[3] - photo).abs().max() <= 8.51
    with pytest.raises(UsageError, match="AutoencoderKLWan alone has no denoiser, which this method reads; choose photoguard or identity"):
        named_method("i2vguard", wan)


@pytest.mark.parametrize("taps", [["error"], ["blocks.1"], []])
def test_there_is_no_denoiser(wan: Surrogate, taps: list[str]) -> None:
    with pytest.raises(UsageError, match="name decoded, latent, photo or vae"):
        wan.with_taps(taps)


def test_it_makes_no_clips(wan: Surrogate) -> None:
    assert wan.features_only
    with pytest.raises(UsageError, match="AutoencoderKLWan alone makes no clips; name a whole pipeline"):
        wan.animate(photos_of(wan), {}, seed=0)


def test_sizes_divide(folders: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match="height × width is 32 × 60; this AutoencoderKLWan needs multiples of 8 × 8"):
        Surrogate.from_pretrained(str(folders["AutoencoderKLWan"]), TAPS, 32, 60)


def test_a_decoder_that_no_tap_needs_is_dropped_if_asked_for(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = folders["AutoencoderKL"]
    assert Surrogate.from_pretrained(str(folder), ["latent"], *SIZE).with_taps(["decoded"]).taps == ("decoded",)
    without = Surrogate.from_pretrained(str(folder), ["latent"], *SIZE, features_only=True)
    assert without.vae.decoder is None
    with pytest.raises(UsageError, match="no tap 'decoded'"):
        without.with_taps(["decoded"])
    weights = load_file(folder / "diffusion_pytorch_model.safetensors")
    save_file({k: v for k, v in weights.items() if k.startswith(("encoder", "quant"))}, tmp_path / "diffusion_pytorch_model.safetensors")
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    assert Surrogate.from_pretrained(str(tmp_path), ["latent"], *SIZE).taps == ("latent",)
    with pytest.raises(UsageError, match="no tap 'decoded'"):
        Surrogate.from_pretrained(str(tmp_path), TAPS, *SIZE)
    save_file({k: v for k, v in weights.items() if not k.startswith("encoder.conv_in")}, tmp_path / "diffusion_pytorch_model.safetensors")
    with pytest.raises(UsageError, match=r"lacks weights of its encoder, such as encoder\.conv_in"):
        Surrogate.from_pretrained(str(tmp_path), ["latent"], *SIZE)


def test_a_pickle_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((folders["AutoencoderKL"] / "config.json").read_bytes())
    torch.save({}, tmp_path / "diffusion_pytorch_model.bin")
    with pytest.raises(UsageError, match=r"its weights must be safetensors, no \.bin"):
        Surrogate.from_pretrained(str(tmp_path), TAPS, *SIZE)
    with pytest.raises(UsageError, match="is a pickle, which may run code when it is read"):
        Surrogate.from_pretrained(str(tmp_path / "diffusion_pytorch_model.bin"), TAPS, *SIZE)


def test_other_networks_are_named(folders: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((folders["AutoencoderKL"] / "config.json").read_bytes())
    edit_json(tmp_path / "config.json", _class_name="WanTransformer3DModel")
    with pytest.raises(UsageError, match="is a WanTransformer3DModel, not a pipeline nor an autoencoder that reads photos; supported"):
        Surrogate.from_pretrained(str(tmp_path), TAPS, *SIZE)


def test_a_shipped_pipeline_with_its_folder_behind() -> None:
    surrogate = Surrogate.from_pretrained("portrait-dit/vae", ["latent"], 64, 64)
    assert type(surrogate.vae).__name__ == "AutoencoderKLWan"
    assert surrogate.cell == (16, 16)
