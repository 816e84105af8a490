"""The configs of public models train as they are, on tiny pipelines of the same classes with as many blocks.

Only the source of each surrogate is another one, given on the command line as a user would give a folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from anti_i2v import Protector
from anti_i2v.__main__ import main as anti_i2v
from anti_i2v.surrogates.memory.estimate import estimate_memory
from anti_i2v.training.cli import main as train
from benchmarks.large import small
from tests.tiny.full import FULL, tiny_full
from tests.tiny.training import tiny_config
from tests.tiny.unet import FRAMES as UNET_FRAMES
from tests.tiny.unet import tiny_portrait_unet
from tests.tiny.wan import tiny_wan21

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
SINGLE = ("cogvideox_5b", "hunyuanvideo", "ltx_2b", "svd_xt", "wan21_14b_480p", "wan22_5b")
ENSEMBLE = "ensemble_80gb"
SMALLER = {"svd-xt": 384}
"""Name of a surrogate → height and width, where those of the config take a CPU minutes: its autoencoder has 32 channels or more."""


def surrogates(config: str) -> dict[str, dict[str, Any]]:
    content = yaml.safe_load((CONFIGS / f"{config}.yaml").read_text(encoding="utf-8"))
    configs: dict[str, dict[str, Any]] = content["model"]["init_args"]["surrogates"]
    return configs


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: tiny_full(name, tmp_path_factory.mktemp(name)) for name in FULL}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten coarse pictures of random colours, one of them for validation."""
    folder, random = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for i in range(10):
        Image.fromarray(random.integers(0, 256, (12, 9, 3), dtype=np.uint8)).resize((540, 720)).save(folder / f"{i}.jpg")
    return folder


def fit(config: str, tiny: dict[str, Path], photos: Path, out: Path, *more: str) -> Path:
    """Two steps of a config and the generator that they export."""
    options = {
        "data.source.folder": str(photos),
        "data.batch_size": "1",
        "data.workers": "0",
        "trainer.accelerator": "cpu",
        "trainer.devices": "1",
        "trainer.max_steps": "2",
        "trainer.accumulate_grad_batches": "1",
        "trainer.logger.save_dir": str(out),
        "trainer.default_root_dir": str(out),
    }
    for name in surrogates(config):
        options[f"model.surrogates.{name}.source"] = str(tiny[name])
        if name in SMALLER:
            options |= dict.fromkeys((f"model.surrogates.{name}.height", f"model.surrogates.{name}.width"), str(SMALLER[name]))
    arguments = [part for key, value in options.items() for part in (f"--{key}", value)]
    train(["fit", "--config", str(CONFIGS / f"{config}.yaml"), *arguments, *more])
    return out / config / "version_0" / "generator"


@pytest.mark.slow
@pytest.mark.parametrize("config", [*SINGLE, ENSEMBLE])
def test_two_steps(config: str, tiny: dict[str, Path], photos: Path, tmp_path: Path) -> None:
    """At the config's own taps, sizes and lengths; Stable Video Diffusion at 384 x 384 instead of 768 x 768, which the next test runs."""
    generator = fit(config, tiny, photos, tmp_path)
    protector = Protector.from_pretrained(generator, backend="torch")
    picture = small("portrait")
    change = np.abs(np.asarray(protector.protect(picture)).astype(int) - np.asarray(picture).astype(int))
    assert 0 < change.max() <= 8


@pytest.mark.slow
def test_the_size_of_the_config_that_ran_at_a_smaller_one(tiny: dict[str, Path]) -> None:
    """The surrogate's own code, forward and backward, on tensors without content."""
    (stated,) = surrogates("svd_xt").values()
    size = (stated["height"], stated["width"], stated["num_frames"])
    need = estimate_memory(str(tiny["svd-xt"]), stated["taps"], *size, 1, stated["dtype"], stated["checkpointing"])
    assert need.peak > 0


@pytest.mark.slow
def test_validation_needs_no_clips(tiny: dict[str, Path], photos: Path, tmp_path: Path) -> None:
    small = ["--model.surrogates.ltx-2b.height", "224", "--model.surrogates.ltx-2b.width", "224"]
    fit("ltx_2b", tiny, photos, tmp_path, "--trainer.max_steps", "1", "--trainer.val_check_interval", "1", *small)
    run = tmp_path / "ltx_2b" / "version_0"
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert "val/damage_jpeg75" in (run / "generator" / "README.md").read_text(encoding="utf-8")


def test_the_ensemble_reads_each_model_as_its_own_config_does() -> None:
    alone = {name: stated for config in SINGLE for name, stated in surrogates(config).items()}
    for name, stated in surrogates(ENSEMBLE).items():
        assert {key: value for key, value in stated.items() if key != "objective"} == alone[name]


@pytest.mark.parametrize("config", [*SINGLE, ENSEMBLE])
def test_photos_are_no_smaller_than_any_surrogate_sees_them(config: str) -> None:
    content = yaml.safe_load((CONFIGS / f"{config}.yaml").read_text(encoding="utf-8"))
    sizes = {side for stated in surrogates(config).values() for side in (stated["height"], stated["width"])}
    assert content["data"]["init_args"]["photo_size"] == max(sizes)


@pytest.mark.parametrize(
    ("write", "more"),
    [
        pytest.param(tiny_wan21, [], id="wan-2.1"),
        pytest.param(tiny_portrait_unet, ["--model.taps", "[down_blocks.0,mid_block]", "--model.num_frames", str(UNET_FRAMES)], id="svd"),
    ],
)
def test_from_a_pipeline_on_disk_to_a_protected_photo(write: Any, more: list[str], tmp_path: Path) -> None:
    """Two commands: train against the pipeline of a folder, protect a photo with what comes out."""
    config = tiny_config(tmp_path / "tiny.yaml", write(tmp_path / "pipeline"))
    train(["fit", "--config", str(config), *more])
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (45, 70, 3), dtype=np.uint8))
    photo.save(tmp_path / "photo.png")
    generator, out = tmp_path / "run" / "version_0" / "generator", tmp_path / "out"
    assert anti_i2v(["protect", str(tmp_path / "photo.png"), "--out", str(out), "--generator", str(generator), "--quiet"]) == 0
    change = np.abs(np.asarray(Image.open(out / "photo.png")).astype(int) - np.asarray(photo).astype(int))
    assert 0 < change.max() <= 8
