"""The LightningModule against the tiny video model: what is trained, what is kept, what is judged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

import anti_i2v.resources
from anti_i2v.errors import UsageError
from anti_i2v.generators.half import as_in_file
from anti_i2v.objectives import IdentityObjective
from anti_i2v.portraits import GroupPhotos
from anti_i2v.training.adversary import Inversion
from anti_i2v.training.module import ProtectionModule
from anti_i2v.training.transforms import Identity, Jpeg
from anti_i2v.training.view import View
from tests.tiny import tiny_portrait_dit
from tests.tiny.generator import tiny_network
from tests.tiny.judges import write_judges
from tests.tiny.training import TAPS, tiny_data, tiny_module, tiny_trainer


@pytest.fixture(scope="module")
def video_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_portrait_dit(tmp_path_factory.mktemp("video_model"))


@pytest.fixture(scope="module")
def trained(video_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[ProtectionModule, Path]:
    folder = tmp_path_factory.mktemp("fit")
    module = tiny_module(video_model, transform=Jpeg())
    trainer = tiny_trainer(folder)
    trainer.fit(module, tiny_data())
    trainer.save_checkpoint(folder / "last.ckpt")
    return module, folder / "last.ckpt"


def test_training_changes_the_generator_and_not_the_surrogate(video_model: Path, trained: tuple[ProtectionModule, Path]) -> None:
    module, fresh = trained[0], tiny_module(video_model)
    fresh.configure_model()
    fresh_weights = dict(fresh.generator.named_parameters())
    changed = {name: not torch.equal(value, fresh_weights[name]) for name, value in module.generator.named_parameters()}
    assert {name for name, value in changed.items() if not value} == {name for name in changed if name.startswith("salience.")}
    for a, b in zip(module.surrogate.parameters(), fresh.surrogate.parameters(), strict=True):
        assert torch.equal(a, b)
        assert not a.requires_grad
        assert a.grad is None
    assert not any(part.training for part in module.surrogate.modules())
    assert module.surrogate.pipeline.text_encoder is None  # dropped once every prompt was encoded


def test_a_checkpoint_holds_the_generator_its_average_and_plain_facts(trained: tuple[ProtectionModule, Path], video_model: Path) -> None:
    checkpoint = torch.load(trained[1], weights_only=True)
    assert {key.split(".")[0] for key in checkpoint["state_dict"]} == {"generator", "ema"}
    assert "hyper_parameters" not in checkpoint
    facts = checkpoint["anti_i2v"]
    assert json.loads(json.dumps(facts)) == facts
    assert facts["generator"]["class"] == "BackboneGenerator"
    assert facts["generator"]["config"]["working_size"] == 32
    assert facts["surrogate"] == video_model.name
    assert facts["taps"] == ["blocks.1", "blocks.2"]
    assert facts["epsilon"] == 8.0


class Start(Callback):
    """Keeps the weights that training starts with."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.weights = {name: value.clone() for name, value in pl_module.state_dict().items()}


def test_resuming_continues_from_the_saved_weights(video_model: Path, trained: tuple[ProtectionModule, Path], tmp_path: Path) -> None:
    start, module = Start(), tiny_module(video_model)
    trainer = tiny_trainer(tmp_path, [start], max_steps=3)
    trainer.fit(module, tiny_data(), ckpt_path=trained[1])
    saved = torch.load(trained[1], weights_only=True)["state_dict"]
    assert trainer.global_step == 3
    assert set(start.weights) == set(saved)
    assert all(torch.equal(start.weights[name], value) for name, value in saved.items())
    assert not torch.equal(module.state_dict()["ema.gain.weight"], saved["ema.gain.weight"])


@pytest.mark.parametrize("stop", [1, 2])
def test_an_interrupted_run_ends_with_the_weights_of_the_uninterrupted_one(video_model: Path, tmp_path: Path, stop: int) -> None:
    end = {}
    for name, parts in (("whole", [4]), ("interrupted", [stop, 4])):
        checkpoint = None
        for steps in parts:
            module = tiny_module(video_model, transform=Jpeg())
            # The schedule follows max_steps: a run that is killed has the same in both parts.
            trainer = tiny_trainer(tmp_path, [Halt(steps)], max_steps=4, limit_val_batches=0)
            trainer.fit(module, tiny_data(), ckpt_path=checkpoint)
            checkpoint = tmp_path / f"{name}{steps}.ckpt"
            trainer.save_checkpoint(checkpoint)
        assert trainer.global_step == 4
        end[name] = module.state_dict()
    assert all(torch.equal(end["interrupted"][name], value) for name, value in end["whole"].items())


class Halt(Callback):
    """Stops training after a number of steps, as a signal would."""

    def __init__(self, after: int) -> None:
        self.after = after

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        trainer.should_stop = trainer.global_step >= self.after


def test_the_surrogate_is_loaded_once(video_model: Path) -> None:
    module = tiny_module(video_model)
    module.configure_model()
    loaded = module.surrogate
    module.configure_model()
    assert module.surrogate is loaded


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    """Whether two networks have the same weights."""
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def loss_of(module: ProtectionModule, image: Tensor, protected: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """What a step minimises, after the step's transform."""
    clean, changed = module._transform_both(image, protected, torch.Generator())
    return module.ensemble.feature_loss(clean, changed, ["a person nods"] * len(image), 0)


def test_the_gradient_reaches_every_weight_of_the_generator(video_model: Path) -> None:
    module = tiny_module(video_model, transform=Jpeg())
    module.configure_model()
    image = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    loss, parts = loss_of(module, image, module.protector(image))
    loss.backward()  # type: ignore[no-untyped-call]
    assert set(parts) == {"blocks.1", "blocks.2"}
    assert loss < 0
    trained = {name: p.grad for name, p in module.generator.named_parameters() if p.requires_grad}
    assert all(gradient is not None and gradient.isfinite().all() for gradient in trained.values())
    # The last layer of the strength map begins at zero, so those before it learn from the second step on.
    assert {name for name, gradient in trained.items() if not gradient.any()} == {name for name in trained if "strength_map.0." in name}


def test_an_unchanged_photo_has_no_damage_even_behind_a_random_transform(video_model: Path) -> None:
    module = tiny_module(video_model, transform=Jpeg())
    module.configure_model()
    image = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    loss, _ = loss_of(module, image, image)
    assert loss.item() == 0


def test_autocast_does_not_reach_the_surrogate(video_model: Path) -> None:
    module = tiny_module(video_model)
    module.configure_model()
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    other = (image + 4 / 255).clamp(0, 1)
    expected, _ = loss_of(module, image, other)
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = loss_of(module, image, other)
    assert loss.item() == expected.item()


def test_features_that_are_no_numbers_stop_the_run_and_name_their_tap(video_model: Path, tmp_path: Path) -> None:
    module = tiny_module(video_model)
    module.configure_model()
    with torch.no_grad():
        module.surrogate.get_submodule("denoiser.blocks.2").scale_shift_table.fill_(float("nan"))
    with pytest.raises(UsageError, match=r"the loss is nan at step 0, because of blocks\.2; lower --model\.lr"):
        tiny_trainer(tmp_path).fit(module, tiny_data())


def test_validation_logs_damage_noise_and_visibility(video_model: Path, tmp_path: Path) -> None:
    module = tiny_module(video_model)
    trainer = tiny_trainer(tmp_path)
    trainer.fit(module, tiny_data())
    logged = {name for name in trainer.callback_metrics if name.startswith("val/")}
    parts = {f"val/part/{tap}" for tap in TAPS}
    assert logged == {"val/loss", "val/damage", "val/damage_noise", "val/damage_jpeg75", "val/psnr", "val/delta_e", *parts}
    assert trainer.callback_metrics["val/psnr"] > 30  # epsilon 8 allows no worse: 20·log10(255/8)
    first = trainer.validate(module, tiny_data(), verbose=False)
    assert first == trainer.validate(module, tiny_data(), verbose=False)  # fixed draws


def test_bad_settings_are_named(video_model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="epsilon 33"):
        tiny_module(video_model, epsilon=33)
    with pytest.raises(UsageError, match=r"epsilon_low 9\.0 is above epsilon_high 4\.0"):
        tiny_module(video_model, epsilon_low=9.0, epsilon_high=4.0)
    with pytest.raises(UsageError, match=r"blocks\.99"):
        tiny_module(video_model, taps=["blocks.99"]).configure_model()
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"model_index\.json"):
        tiny_module(tmp_path / "empty").configure_model()


def test_a_checkpoint_of_another_network_is_refused_by_name(
    video_model: Path, trained: tuple[ProtectionModule, Path], tmp_path: Path
) -> None:
    other = tiny_module(video_model, generator=tiny_network(chroma_size=8))
    with pytest.raises(UsageError, match="the checkpoint holds"):
        tiny_trainer(tmp_path).validate(other, tiny_data(), ckpt_path=trained[1])


def test_evaluation_without_weights_takes_the_shipped_generator_or_names_the_options(
    video_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(anti_i2v.resources, "PACKAGE", tmp_path / "anti_i2v")  # as if nothing had shipped
    with pytest.raises(UsageError, match=r"nothing to judge: give --ckpt_path FILE or --model\.weights FOLDER"):
        tiny_trainer(tmp_path).validate(tiny_module(video_model), tiny_data())
    shipped = tiny_module(video_model, seed=1).averaged_protector
    folder = tmp_path / "checkpoints" / "portrait-generator"
    shipped.save_pretrained(folder, card="", extra={})
    stored = as_in_file(shipped.generator, folder / "model.safetensors")
    module = tiny_module(video_model)
    with torch.no_grad():
        next(module.ema.backbone.parameters()).add_(1.0)  # type: ignore[union-attr, operator]
    tiny_trainer(tmp_path).validate(module, tiny_data(), verbose=False)
    assert "judging the shipped generator" in capsys.readouterr().out
    assert same(module.ema, stored)
    chosen = tiny_module(video_model, weights=folder)
    assert same(chosen.generator, stored)


def test_test_writes_a_table_and_pictures(video_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = tiny_module(video_model)
    module.has_weights = True
    tiny_trainer(tmp_path).test(module, tiny_data(batch_size=3, people=3), verbose=False)
    results = json.loads((tmp_path / "test_results.json").read_text(encoding="utf-8"))
    assert results["people"] == 3
    assert results["surrogate"] == video_model.name
    protected, noise = results["results"]["protected"], results["results"]["white_noise"]
    assert protected["residual_rms"]["mean"] == pytest.approx(noise["residual_rms"]["mean"], rel=0.02)
    assert protected["first_frame_change"]["low"] < protected["first_frame_change"]["mean"] < protected["first_frame_change"]["high"]
    assert (tmp_path / "test_results.png").stat().st_size > 1000
    assert "| protected |" in capsys.readouterr().out
    assert not list(tmp_path.glob(".*.part"))


def test_test_reports_identity_and_actions_of_the_judges(video_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    identity, actions = write_judges(tmp_path)
    module = tiny_module(video_model, judge=identity, actions=actions)
    module.has_weights = True
    tiny_trainer(tmp_path).test(module, tiny_data(batch_size=2, people=3), verbose=False)
    results = json.loads((tmp_path / "test_results.json").read_text(encoding="utf-8"))
    clean, protected = results["results"]["clean"], results["results"]["protected"]
    assert clean["similarity_drop"]["mean"] == 0
    lost = clean["identity_similarity"]["mean"] - protected["identity_similarity"]["mean"]
    assert protected["similarity_drop"]["mean"] == pytest.approx(lost, abs=1e-5)
    assert {"action", "identity_shift", "rank1", "face", "consistency", "photo_identity_shift"} <= set(protected)
    assert "the same person in other clothes" in results["notes"][0]
    assert "identity similarity" in capsys.readouterr().out
    with pytest.raises(UsageError, match="no-such-judge"):
        tiny_trainer(tmp_path).test(tiny_module(video_model, judge=Path("no-such-judge")), tiny_data())


def test_muon_trains_too_and_learns_from_the_first_step(video_model: Path, tmp_path: Path) -> None:
    module = tiny_module(video_model, muon=True, lr=5e-3)
    before = {name: value.clone() for name, value in module.generator.state_dict().items()}
    tiny_trainer(tmp_path).fit(module, tiny_data())
    assert type(module.optimizers().optimizer).__name__ == "Muon"  # type: ignore[union-attr]
    trained = [name for name, value in module.generator.named_parameters() if value.requires_grad]
    changed = [name for name, value in module.generator.state_dict().items() if not torch.equal(value, before[name])]
    assert len(changed) > len(trained) / 2
    assert set(changed) <= set(trained)


def test_views_of_people_inverted_or_not_are_what_the_surrogate_sees(video_model: Path, tmp_path: Path) -> None:
    sizes: list[tuple[int, ...]] = []

    class Seen(Identity):
        def forward(self, image: Tensor, generator: torch.Generator) -> Tensor:
            sizes.append(tuple(image.shape))
            return image

    data = tiny_data()
    data.source, data.photo_size = GroupPhotos(people=(1, 2), photos=2, kept=2), 48
    module = tiny_module(video_model, transform=Seen(), view=View(size=24), adversary=Inversion(share=1.0))
    before = {name: value.clone() for name, value in module.generator.named_parameters()}
    tiny_trainer(tmp_path, max_steps=1, limit_val_batches=0).fit(module, data)
    assert sizes == [(2, 3, 24, 24)] * 2
    assert any(not torch.equal(value, before[name]) for name, value in module.generator.named_parameters())


def test_the_worst_of_several_factors_is_chosen_by_what_the_autoencoder_makes_of_the_view(video_model: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, ...]] = []

    class Judge(IdentityObjective):
        def similarity(self, clean: Tensor, protected: Tensor) -> Tensor:
            seen.extend((tuple(clean.shape), tuple(protected.shape)))
            return super().similarity(clean, protected)

    adversary = Inversion(share=1.0, tries=3, steps=2, keys=2, known=0.5)
    adversary.judge = Judge()
    module = tiny_module(video_model, taps=["decoded", *TAPS], objective=IdentityObjective(keep=0), adversary=adversary, view=View(size=24))
    before = {name: value.clone() for name, value in module.generator.named_parameters()}
    tiny_trainer(tmp_path, max_steps=1, limit_val_batches=0).fit(module, tiny_data())
    assert seen == [(6, 3, 24, 24), (6, 3, 32, 32)]  # three factors for two photos, each all at once
    assert any(not torch.equal(value, before[name]) for name, value in module.generator.named_parameters())


def test_choosing_among_factors_needs_the_decoded_photo(video_model: Path) -> None:
    module = tiny_module(video_model, adversary=Inversion(tries=2))
    with pytest.raises(UsageError, match="tries is 2, and choosing among factors needs the decoded photo; add decoded to the taps"):
        module.configure_model()


def test_a_batch_in_which_nobody_is_found_still_trains(video_model: Path, tmp_path: Path) -> None:
    """In its middle."""
    module = tiny_module(video_model)
    torch.nn.init.constant_(module.generator.salience.head.bias, -4.0)  # type: ignore[arg-type]
    before = {name: value.clone() for name, value in module.generator.named_parameters()}
    tiny_trainer(tmp_path, max_steps=1, limit_val_batches=0).fit(module, tiny_data())
    assert any(not torch.equal(value, before[name]) for name, value in module.generator.named_parameters())
