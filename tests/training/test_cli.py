"""The training command line, called in process with real configs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from anti_i2v.resources import shipped
from anti_i2v.training.cli import main, with_default_config
from tests.tiny import tiny_portrait_dit
from tests.tiny.training import tiny_config

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny video model and a config that names it by a relative path."""
    root = tmp_path_factory.mktemp("cli")
    tiny_config(root / "tiny.yaml", tiny_portrait_dit(root / "video_model"))
    return root


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    """A finished run of two steps."""
    main(["fit", "--config", str(folder / "tiny.yaml"), "--model.epsilon", "5"])
    return folder / "run" / "version_0"


def refused(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    """Run what must fail with status 2 and one line; return that line."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(args)
    assert ended.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith(("error", "Traceback", "usage"))]
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    return lines[0]


def test_without_a_config_the_default_one_is_used() -> None:
    default = str(shipped("configs") / "default.yaml")
    assert with_default_config(["fit", "--model.epsilon", "4"]) == ["fit", "--config", default, "--model.epsilon", "4"]
    for args in (["fit", "-c", "x.yaml"], ["test", "--config=x.yaml"], ["fit", "--help"], ["--help"], []):
        assert with_default_config(args) == args


def test_print_config_of_the_default_run(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["fit", "--model.epsilon", "4", "--print_config"])
    config = yaml.safe_load(capsys.readouterr().out)
    assert ended.value.code == 0
    assert config["model"]["class_path"] == "anti_i2v.training.module.ProtectionModule"
    assert config["model"]["init_args"]["epsilon"] == 4.0
    assert config["seed_everything"] == 0


def test_the_saved_config_is_absolute_and_runs_again(run: Path, folder: Path, tmp_path: Path) -> None:
    saved = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    assert saved["model"]["init_args"]["surrogate"] == str(folder / "video_model")
    main(["fit", "--config", str(run / "config.yaml"), "--trainer.logger", "false", "--trainer.default_root_dir", str(tmp_path)])
    assert (tmp_path / "generator" / "model.safetensors").is_file()


def test_epsilon_on_the_command_line_wins_over_a_checkpoint(run: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    last = str(run / "checkpoints" / "last.ckpt")
    main(["test", "--config", str(folder / "tiny.yaml"), "--model.epsilon", "4", "--ckpt_path", last])
    output = capsys.readouterr().out
    assert "\n* epsilon: 4.0\n" in f"\n{output}"
    main(["test", "--config", str(run / "config.yaml"), "--ckpt_path", last])
    assert "\n* epsilon: 5.0\n" in f"\n{capsys.readouterr().out}"


def test_resuming_continues_at_the_step_of_the_checkpoint(run: Path, folder: Path) -> None:
    import torch

    last = run / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == 2
    main(["fit", "--config", str(run / "config.yaml"), "--trainer.max_steps", "4", "--ckpt_path", str(last)])
    newest = max((folder / "run").glob("version_*/checkpoints/last.ckpt"), key=lambda path: path.stat().st_mtime)
    assert torch.load(newest, weights_only=True)["global_step"] == 4


def test_unknown_keys_are_named_on_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = ("fit", "--config", str(folder / "tiny.yaml"))
    assert "unknown key 'epsilom': anti_i2v.training.module.ProtectionModule" in refused(capsys, *config, "--model.epsilom", "4")
    assert "unknown key 'widht': anti_i2v.generators.BackboneGenerator" in refused(capsys, *config, "--model.generator.widht", "8")
    assert "trainer.max_stepz" in refused(capsys, *config, "--trainer.max_stepz", "4")
    bad = folder / "bad.yaml"
    bad.write_text((folder / "tiny.yaml").read_text(encoding="utf-8") + "\nmodell: {lr: 1}\n", encoding="utf-8")
    assert "modell" in refused(capsys, "fit", "--config", str(bad))


def test_unusable_values_are_named_on_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = ("fit", "--config", str(folder / "tiny.yaml"))
    assert "epsilon 40" in refused(capsys, *config, "--model.epsilon", "40")
    assert "nope.ckpt: no such file" in refused(capsys, *config, "--ckpt_path", "nope.ckpt")
    (folder / "broken.ckpt").write_bytes(b"no checkpoint")
    assert "broken.ckpt: not a checkpoint" in refused(capsys, *config, "--ckpt_path", str(folder / "broken.ckpt"))
    assert "nowhere.yaml" in refused(capsys, "fit", "--config", "nowhere.yaml")
    assert "nowhere" in refused(capsys, *config, "--model.surrogate", "nowhere")
    assert "blocks.77" in refused(capsys, *config, "--model.taps", "[blocks.77]")
    assert "blocks.0 … blocks.3" in refused(capsys, *config, "--model.taps", "[blocks.77]")
    assert "convnextv9" in refused(capsys, *config, "--model.generator.backbone", "convnextv9")
    assert "nowhere" in refused(capsys, *config, "--data.source", "anti_i2v.data.FolderPhotos", "--data.source.folder", "nowhere")
    assert "lr" in refused(capsys, *config, "--model.lr", "fast")
    assert "nope.Nope" in refused(capsys, *config, "--model.generator", "nope.Nope")


def test_a_surrogate_folder_without_an_index_is_refused(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(capsys, "fit", "--config", str(folder / "tiny.yaml"), "--model.surrogate", str(tmp_path))
    assert "model_index.json" in message


def test_help_works_from_any_folder(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, str(ROOT / "train.py"), "--help"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "fit" in done.stdout
    assert not list(tmp_path.iterdir())
