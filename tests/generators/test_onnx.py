"""The exported network gives the output of the torch network, for batches it was not exported with."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from anti_i2v.errors import UsageError
from anti_i2v.generators import BackboneGenerator
from anti_i2v.generators.onnx import export_onnx
from anti_i2v.protector import Protector
from tests.tiny.generator import tiny_generator

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_onnxruntime_agrees_with_torch_at_any_batch_size(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    generator = BackboneGenerator(
        chroma_size=20, cutoff=32, keyed=True
    )  # a chroma field that is resized, in one export: each takes ten seconds
    path = export_onnx(generator, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.onnx", "salience.onnx"]
    assert str(ROOT).encode() not in path.read_bytes(), "a path of the machine that exported"
    session = onnxruntime.InferenceSession(path)
    for batch in (1, 3):
        size = generator.working_size
        image = torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(batch))
        epsilon = torch.linspace(2, 16, batch)
        key = torch.randn(batch, 32, generator=torch.Generator().manual_seed(batch))
        lab, frequency = session.run(["lab", "frequency"], {"window": image.numpy(), "epsilon": epsilon.numpy(), "key": key.numpy()})
        with torch.no_grad():
            expected = generator(image, epsilon, key)
        np.testing.assert_allclose(lab, expected["lab"].numpy(), atol=1e-4)
        np.testing.assert_allclose(frequency, expected["frequency"].numpy(), atol=1e-4)
    salience = onnxruntime.InferenceSession(tmp_path / "salience.onnx")
    for height, width in ((24, 32), (37, 51), (97, 16), (8, 200)):
        image = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(height))
        with torch.no_grad():
            expected_map = generator.salience(image).numpy()
        assert expected_map.shape == (1, 4, -(-height // 4), -(-width // 4))
        np.testing.assert_allclose(salience.run(["found"], {"image": image.numpy()})[0], expected_map, atol=1e-4)


@pytest.mark.slow
def test_weights_beside_the_network_are_not_written_twice(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    folder = tiny_generator(tmp_path / "generator")
    generator = Protector.from_pretrained(folder).generator
    path = export_onnx(generator, folder)
    alone = export_onnx(generator, tmp_path)
    given = {"window": np.full((1, 3, 32, 32), 0.3, np.float32), "epsilon": np.array([8], np.float32)}
    given["key"] = np.ones((1, 32), np.float32)
    results = [onnxruntime.InferenceSession(file).run(None, given) for file in (path, alone)]  # any runtime, by the file's path
    assert all(np.array_equal(one, other) for one, other in zip(*results, strict=True))
    weights = (folder / "model.safetensors").stat().st_size
    assert alone.stat().st_size > 0.9 * weights > 2 * path.stat().st_size


@pytest.mark.slow
def test_the_network_is_the_rounded_one_and_old_folders_in_float32_still_load(onnx_generator: Path, tmp_path: Path) -> None:
    """One export of weights in float32, beside them: what folders were before they held half precision."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    window, epsilon, key = np.full((3, 32, 32), 0.3, np.float32), np.float32(8), np.ones(32, np.float32)
    old = shutil.copytree(onnx_generator, tmp_path / "old")
    weights = {name: value.float() if value.is_floating_point() else value for name, value in load_file(old / "model.safetensors").items()}
    save_file({name: value * 1.0001 if value.ndim > 1 else value for name, value in weights.items()}, old / "model.safetensors")
    export_onnx(Protector.from_pretrained(old, backend="torch").generator, old)
    for folder in (onnx_generator, old):
        assert (folder / "model.onnx").stat().st_size < 0.5 * (folder / "model.safetensors").stat().st_size
        backends = [Protector.from_pretrained(folder, backend=name).backend for name in ("torch", "onnx")]
        one, other = (backend.propose(window, epsilon, key) for backend in backends)
        assert {name: value.dtype for name, value in other.items()} == dict.fromkeys(one, np.dtype(np.float32))
        for name, value in one.items():
            np.testing.assert_allclose(other[name], value, atol=1e-5)


def test_without_the_extra_the_message_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UsageError, match=r"pip install 'anti-i2v\[train\]'"):
        export_onnx(BackboneGenerator("test_resnet", 32, 8, 8, 16), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    with pytest.raises(UsageError, match="no folder"):
        export_onnx(BackboneGenerator("test_resnet", 32, 8, 8, 16), tmp_path / "nothing")
