"""Several frozen models at once: what a step minimises, whichever process holds which."""

from __future__ import annotations

from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor

from anti_i2v.errors import UsageError
from anti_i2v.objectives import FeatureObjective
from anti_i2v.probing.blocks import kind_of
from anti_i2v.probing.choice import as_yaml, choose
from anti_i2v.probing.study import Row
from anti_i2v.training.cli import main
from anti_i2v.training.ensemble import Ensemble, Member, SurrogateConfig
from anti_i2v.training.feature_loss import feature_loss
from anti_i2v.training.module import ProtectionModule
from tests.tiny import FRAMES, tiny_portrait_dit
from tests.tiny.training import tiny_config, tiny_data, tiny_module, tiny_trainer
from tests.tiny.unet import FRAMES as UNET_FRAMES
from tests.tiny.unet import tiny_portrait_unet


@pytest.fixture(scope="module")
def configs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SurrogateConfig]:
    """A transformer that counts three times as much as a U-Net, at different sizes and lengths."""
    folder = tmp_path_factory.mktemp("worlds")
    wan, unet = tiny_portrait_dit(folder / "wan"), tiny_portrait_unet(folder / "unet")
    return {
        "wan": SurrogateConfig(wan, ["blocks.1"], 32, 32, FRAMES, 3, 0.0, 3.0),
        "unet": SurrogateConfig(unet, ["mid_block"], 16, 24, UNET_FRAMES, 3, 0.0, 1.0),
    }


@pytest.fixture
def photos() -> tuple[Tensor, Tensor]:
    image = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return image, (image + 4 / 255).clamp(0, 1)


def loaded(configs: dict[str, SurrogateConfig], **options: str) -> Ensemble:
    ensemble = Ensemble(configs, FeatureObjective(), **options)  # type: ignore[arg-type]
    ensemble.load()
    return ensemble


def test_all_is_the_weighted_mean_of_the_members(configs: dict[str, SurrogateConfig], photos: tuple[Tensor, Tensor]) -> None:
    ensemble, (clean, other) = loaded(configs, use="all"), photos
    leaf = other.clone().requires_grad_()
    total, parts = ensemble.feature_loss(clean, leaf, ["a", "b"], seed=5)
    total.backward()  # type: ignore[no-untyped-call]
    assert set(parts) == {"wan/blocks.1", "unet/mid_block"}
    expected, gradient = torch.zeros(()), torch.zeros_like(leaf)
    for k, (name, share) in enumerate({"wan": 0.75, "unet": 0.25}.items()):
        single = other.clone().requires_grad_()
        member = ensemble.members[name]
        text, draw = member.draw(["a", "b"], torch.Generator().manual_seed(5 * 64 + k))
        loss, _ = feature_loss(member.surrogate, member.objective, clean, single, text, draw)
        loss.backward()  # type: ignore[no-untyped-call]
        assert single.grad is not None
        expected, gradient = expected + share * loss.detach(), gradient + share * single.grad
    torch.testing.assert_close(total.detach(), expected)
    torch.testing.assert_close(leaf.grad, gradient)


def test_one_is_drawn_by_weight_and_the_same_again_for_the_same_seed(configs: dict[str, SurrogateConfig]) -> None:
    ensemble = Ensemble(configs, FeatureObjective(), use="one")
    draws = [ensemble.choose_members(seed) for seed in range(400)]
    assert all(len(chosen) == 1 and chosen[0][1] == pytest.approx(1.0) for chosen in draws)
    share = sum(chosen[0][0] == 0 for chosen in draws) / len(draws)
    assert share == pytest.approx(0.75, abs=0.07)  # three standard deviations of a share of 400
    assert draws == [ensemble.choose_members(seed) for seed in range(400)]


@pytest.mark.parametrize(("processes", "members"), [(1, [[0, 1]]), (2, [[0], [1]]), (3, [[0], [1], [0]])])
def test_by_rank_every_member_counts_its_share_in_the_mean_over_processes(
    configs: dict[str, SurrogateConfig], processes: int, members: list[list[int]]
) -> None:
    ensemble = Ensemble(configs, FeatureObjective(), use="all", assign="by-rank")
    ensemble.processes = processes
    assert [ensemble.members_of(rank) for rank in range(processes)] == members
    total = [0.0, 0.0]
    for ensemble.rank in range(processes):
        for k, factor in ensemble.choose_members(0):
            total[k] += factor / processes
    assert total == pytest.approx([0.75, 0.25])


def test_by_rank_a_process_loads_only_its_own_members(configs: dict[str, SurrogateConfig]) -> None:
    ensemble = Ensemble(configs, FeatureObjective(), assign="by-rank")
    ensemble.rank, ensemble.processes = 1, 2
    ensemble.load()
    assert list(ensemble.members) == ["unet"]


class KeepGradient(pl.Callback):
    """Write the generator's gradient of the first step, after processes have exchanged it."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer) -> None:
        assert isinstance(pl_module, ProtectionModule)
        if trainer.is_global_zero:
            gradients = {name: p.grad.clone() for name, p in pl_module.generator.named_parameters() if p.grad is not None}
            save_file(gradients, self.file)


def gradient_of_a_fit(file: Path, configs: dict[str, SurrogateConfig], assign: str, **trainer: object) -> dict[str, Tensor]:
    module = tiny_module(Path("unused"), taps=None, surrogates=configs, use="all", assign=assign)
    # Without a sampler of its own for each process all see the same photos: the step of one process, shared out.
    settings: dict[str, object] = {"max_steps": 1, "limit_val_batches": 0, "use_distributed_sampler": False, **trainer}
    tiny_trainer(file.parent, [KeepGradient(file)], **settings).fit(module, tiny_data())
    return load_file(file)


@pytest.mark.slow
def test_two_processes_with_a_member_each_compute_the_gradient_of_one_with_both(
    configs: dict[str, SurrogateConfig], tmp_path: Path
) -> None:
    alone = gradient_of_a_fit(tmp_path / "alone.safetensors", configs, "every")
    shared = gradient_of_a_fit(tmp_path / "shared.safetensors", configs, "by-rank", devices=2, strategy="ddp_spawn")
    assert alone.keys() == shared.keys()
    largest = max(float(value.abs().max()) for value in alone.values())
    assert largest > 0
    for name, value in alone.items():  # relative to the largest: what rounds at other places differs by that much on every processor
        torch.testing.assert_close(shared[name], value, atol=1e-5 * largest, rtol=0)


def test_a_config_names_them_relative_to_itself(tmp_path: Path) -> None:
    tiny_portrait_unet(tmp_path / "unet")
    file = tiny_config(tmp_path / "run.yaml", tiny_portrait_dit(tmp_path / "wan"))
    config = yaml.safe_load(file.read_text(encoding="utf-8"))
    arguments = config["model"]["init_args"]
    sizes = {name: arguments.pop(name) for name in ("height", "width", "num_frames", "steps", "min_sigma")}
    arguments["surrogates"] = {
        "wan": {**sizes, "source": arguments.pop("surrogate"), "taps": arguments.pop("taps"), "weight": 2.0},
        "unet": {**sizes, "source": "unet", "taps": ["mid_block"], "num_frames": UNET_FRAMES},
    }
    arguments["use"] = "all"
    file.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    main(["fit", "--config", str(file)])
    (checkpoint,) = (tmp_path / "run").rglob("last.ckpt")
    facts = torch.load(checkpoint, weights_only=True)["anti_i2v"]
    assert facts["protects_against"] == "wan, unet"


def test_mistakes_are_named(configs: dict[str, SurrogateConfig], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="surrogates is empty"):
        Ensemble({}, FeatureObjective())
    with pytest.raises(UsageError, match=r"weights of surrogates must be positive, not \{'a': 0\.0\}"):
        Ensemble({"a": SurrogateConfig(tmp_path, ["x"], weight=0.0)}, FeatureObjective())
    with pytest.raises(UsageError, match="taps is empty"):
        tiny_module(tmp_path, taps=None)
    with pytest.raises(UsageError, match="are both given; each of the surrogates has its own taps"):
        tiny_module(tmp_path, surrogates=configs)


def test_taps_may_be_left_to_a_taps_file(tmp_path: Path) -> None:
    video_model, file = tiny_portrait_dit(tmp_path / "wan"), tmp_path / "taps.yaml"
    rows = [Row(f"blocks.{i}", 0, 1.0, {"subject_later": 0.5, "person_later": person}) for i, person in enumerate([0.1, 0.4, 0.2, 0.3])]
    file.write_text(as_yaml(choose(rows, 2), kind_of(str(video_model))[0], {}), encoding="utf-8")
    config = SurrogateConfig(video_model, ["auto", "photo"], 32, 32, FRAMES, 3, taps_file=file)
    assert Member.load(config, FeatureObjective()).surrogate.taps == ("blocks.1", "blocks.3", "photo")
    assert Member.load(SurrogateConfig(video_model, "auto", 32, 32, FRAMES, 3, taps_file=file), FeatureObjective()).surrogate.taps == (
        "blocks.1",
        "blocks.3",
    )
    with pytest.raises(UsageError, match="taps are 'auto', but taps_file is not set"):
        Member.load(SurrogateConfig(video_model, "auto", 32, 32, FRAMES, 3), FeatureObjective())
    unet = tiny_portrait_unet(tmp_path / "unet")
    with pytest.raises(UsageError, match="was made for"):
        Member.load(SurrogateConfig(unet, "auto", 16, 24, UNET_FRAMES, 3, taps_file=file), FeatureObjective())
