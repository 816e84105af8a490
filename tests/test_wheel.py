"""The result of `pip install anti-i2v`: a small wheel that protects photos in an environment without torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image

from benchmarks.large import small

ROOT = Path(__file__).resolve().parent.parent
NO_INDEX = ("No matching distribution found", "Could not find a version", "ConnectionError", "Max retries exceeded")

pytestmark = pytest.mark.slow


def run(*command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a program that sees nothing of this checkout and of the environment of the tests."""
    hidden = ("PYTHONPATH", "VIRTUAL_ENV", "ANTI_I2V")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    return subprocess.run([*map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=500)


def pip(python: Path | str, *arguments: object, cwd: Path) -> None:
    done = run(python, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments, cwd=cwd)
    if done.returncode and any(words in done.stderr for words in NO_INDEX):
        pytest.skip(f"no package index is reachable: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("light")


@pytest.fixture(scope="module")
def wheel(folder: Path) -> Path:
    pip(sys.executable, "wheel", "--no-deps", "--wheel-dir", folder, ROOT, cwd=folder)
    (wheels,) = folder.glob("anti_i2v-*.whl")
    return wheels


@pytest.fixture(scope="module")
def python(wheel: Path, folder: Path) -> Path:
    """The interpreter of an environment that has the wheel and what it asks for, and no more."""
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True, timeout=200)
    interpreter = folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    pip(interpreter, "install", wheel, cwd=folder)
    return interpreter


def test_the_wheel_carries_the_generator_and_the_configs_and_is_small(wheel: Path) -> None:
    assert wheel.stat().st_size <= 20 * 10**6
    names = ZipFile(wheel).namelist()
    assert {name.split("/")[2] for name in names if name.startswith("anti_i2v/checkpoints/")} == {"portrait-generator"}
    assert "anti_i2v/configs/default.yaml" in names


def test_a_photo_is_protected_from_the_command_line(python: Path, folder: Path) -> None:
    small("portrait").save(folder / "photo.png")
    done = run(python, "-m", "anti_i2v", "protect", "photo.png", "--out", "out", "--quiet", cwd=folder)
    assert done.returncode == 0, done.stderr
    before, after = (np.asarray(Image.open(folder / name), dtype=int) for name in ("photo.png", "out/photo.png"))
    assert 1 <= np.abs(after - before).max() <= 8


def test_a_photo_is_protected_from_python_and_tensors_need_an_extra(python: Path, folder: Path) -> None:
    code = """
import numpy as np
from importlib.util import find_spec
from PIL import Image
from anti_i2v import Protector

print([name for name in ("torch", "lightning", "diffusers", "kornia") if find_spec(name)])
protector = Protector.from_pretrained("portrait-generator")
print(protector.protect(Image.new("RGB", (40, 30), (90, 120, 60))).size)
for ask in (lambda: protector(np.zeros((1, 3, 8, 8), np.float32)), lambda: Protector.from_pretrained("portrait-dit")):
    try:
        ask()
    except ValueError as error:
        print(error)
"""
    done = run(python, "-c", code, cwd=folder)
    packages, size, tensors, portraits = done.stdout.splitlines() or [done.stderr]
    assert (packages, size) == ("[]", "(40, 30)")
    assert tensors == "protecting tensors needs torch, which is not installed; pip install 'anti-i2v[train]'"
    assert portraits.endswith("are in the folder checkpoints/ of the repository, so for them get a checkout")


@pytest.mark.parametrize(
    "arguments",
    [
        ["protect", "photo.png", "--out", "other", "--runtime", "torch"],
        ["protect", "photo.png", "--out", "other", "--method", "noise"],
        ["protect", "photo.png", "--out", "other", "--method", "identity", "--surrogate", "portrait-dit"],
        ["export", "a.ckpt", "other"],
        ["layers", "--surrogate", "portrait-dit", "--out", "other"],
        ["plan", "--surrogate", "portrait-dit", "--taps", "decoded", "--height", "64", "--width", "64", "--num-frames", "9"],
    ],
)
def test_a_command_that_needs_torch_names_the_extra_to_install(python: Path, folder: Path, arguments: list[str]) -> None:
    done = run(python, "-m", "anti_i2v", *arguments, cwd=folder)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.strip().endswith("which is not installed; pip install 'anti-i2v[train]'")
    assert done.stderr.count("\n") == 1
    assert not (folder / "other").exists()


def test_training_without_torch_names_the_extra_to_install(python: Path, folder: Path) -> None:
    done = run(python, ROOT / "train.py", "fit", cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.strip().endswith("pip install 'anti-i2v[train]'")
