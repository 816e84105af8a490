"""The configs of autoencoders alone train as they are, on tiny ones of the same classes, and `plan` counts their memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from safetensors.torch import save_file

from anti_i2v.__main__ import main as anti_i2v
from anti_i2v.imaging.landmarks import COLUMNS
from anti_i2v.surrogates.memory.estimate import estimate_memory
from anti_i2v.training.cli import main as train
from tests.tiny.autoencoders import CONFIGS as BUILD
from tests.tiny.autoencoders import tiny_video_weights, write

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SIZE = 96
"""Height and width of the photos, those of the configs take a CPU too long."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, random = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for i in range(10):
        Image.fromarray(random.integers(0, 256, (12, 9, 3), dtype=np.uint8)).resize((120, 160)).save(folder / f"{i}.jpg")
    face = "40,60,80,60,60,80,45,100,75,100"  # x and y of eyes, nose and corners of the mouth
    rows = [",".join(COLUMNS), *(f"{i}.jpg,{face}" for i in range(10))]
    (folder / "landmarks.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def sources(config: str, folder: Path) -> dict[str, Path]:
    """Name of each surrogate of a config → a tiny one of its class."""
    content = yaml.safe_load((CONFIGS / f"{config}.yaml").read_text(encoding="utf-8"))
    found = {}
    for name, stated in content["model"]["init_args"]["surrogates"].items():
        if stated["source"].endswith(".safetensors"):
            found[name] = folder / f"{name}.safetensors"
            save_file(tiny_video_weights(1 if name in ("wan21", "cogvideox") else 2), found[name])
        else:
            found[name] = write(BUILD[name], folder / name)
    return found


@pytest.mark.parametrize("config", ["autoencoders_24gb", "autoencoders_tiny"])
def test_two_steps(config: str, photos: Path, tmp_path: Path) -> None:
    options = {
        "data.source.folder": str(photos),
        "data.photo_size": str(SIZE),
        "data.batch_size": "1",
        "data.workers": "0",
        "trainer.accelerator": "cpu",
        "trainer.devices": "1",
        "trainer.max_steps": "2",
        "trainer.accumulate_grad_batches": "1",
        "trainer.logger.save_dir": str(tmp_path),
        "trainer.default_root_dir": str(tmp_path),
    }
    for name, source in sources(config, tmp_path).items():
        options |= {f"model.surrogates.{name}.{key}": str(value) for key, value in (("source", source), ("height", SIZE), ("width", SIZE))}
    train(["fit", "--config", str(CONFIGS / f"{config}.yaml"), *[part for key, value in options.items() for part in (f"--{key}", value)]])
    assert (tmp_path / config / "version_0" / "generator" / "model.safetensors").is_file()


def test_the_plan_counts_an_autoencoder_without_its_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write(BUILD["ltx"], tmp_path / "vae")
    size = (folder / "diffusion_pytorch_model.safetensors").stat().st_size
    need = estimate_memory(str(folder), ["decoded"], SIZE, SIZE, 1)
    assert need.weights["vae"] == pytest.approx(2 * size, rel=0.2)  # half precision on disk, and a header
    assert need.peak > need.after_forward > 0
    (folder / "diffusion_pytorch_model.safetensors").unlink()
    save_file(tiny_video_weights(), tmp_path / "tae.safetensors")
    for source in (folder, tmp_path / "tae.safetensors"):
        arguments = ["plan", "--surrogate", str(source), "--taps", "decoded", "--height", str(SIZE), "--width", str(SIZE)]
        assert anti_i2v(arguments) == 0
        table = capsys.readouterr().out
        assert "vae" in table
        assert "float32, checkpointing" in table
        assert "bfloat16" not in table
