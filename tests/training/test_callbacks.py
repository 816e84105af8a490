"""What a run shows and writes."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger

from anti_i2v.generators.half import as_in_file
from anti_i2v.protector import Protector
from anti_i2v.training.callbacks import GeneratorExport, ProtectionPictures, RunProgressBar
from tests.tiny import tiny_portrait_dit
from tests.tiny.training import tiny_data, tiny_module, tiny_trainer


@pytest.fixture(scope="module")
def video_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_portrait_dit(tmp_path_factory.mktemp("video_model"))


def test_the_exported_folder_protects_as_the_averaged_generator_does(
    video_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module = tiny_module(video_model)
    tiny_trainer(tmp_path, [GeneratorExport()]).fit(module, tiny_data())
    folder = tmp_path / "generator"
    image = torch.rand(1, 3, 40, 50, generator=torch.Generator().manual_seed(0))
    average = as_in_file(module.averaged_protector.generator, folder / "model.safetensors")
    with torch.no_grad():
        assert torch.equal(Protector.from_pretrained(folder)(image), Protector(average)(image))
    assert (folder / "model.onnx").is_file() == (find_spec("onnxscript") is not None)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["epsilon"] == 8.0
    assert config["protects_against"] == video_model.name
    assert "val/damage" in config["metrics"]
    assert "val/damage" in (folder / "README.md").read_text(encoding="utf-8")
    assert f"anti-i2v protect PHOTO --out protected --generator {folder}" in capsys.readouterr().out


def test_a_fast_dev_run_writes_nothing(video_model: Path, tmp_path: Path) -> None:
    tiny_trainer(tmp_path, [GeneratorExport()], fast_dev_run=True).fit(tiny_module(video_model), tiny_data())
    assert list(tmp_path.iterdir()) == []


def test_validation_shows_pictures_in_tensorboard(video_model: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(tmp_path, name=None)
    tiny_trainer(tmp_path, [ProtectionPictures(people=2, size=16)], logger=logger).fit(tiny_module(video_model), tiny_data())
    events = EventAccumulator(logger.log_dir)
    events.Reload()
    (tag,) = events.Tags()["images"]
    (output,) = events.Images(tag)
    assert (output.width, output.height) == ((3 + 4 + 4) * 18 - 2, 2 * 18 - 2)
    assert {"train/loss", "train/psnr", "train/blocks.1", "train/grad_norm", "train/lr", "val/damage"} <= set(events.Tags()["scalars"])


def test_the_bar_shows_steps_done_of_all_and_the_time_left(video_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = tiny_trainer(tmp_path, [RunProgressBar()], max_steps=4, enable_progress_bar=True)
    trainer.fit(tiny_module(video_model), tiny_data())
    output = "".join(capsys.readouterr())
    assert "step 2/4" in output
    assert "left=00:0" in output
    assert "train/loss=" in output
    assert "131072" not in output  # batches of an epoch
