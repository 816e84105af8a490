"""Embedders of users' ONNX files: the same numbers as onnxruntime, gradients, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from anti_i2v.embedders import load_embedder
from anti_i2v.embedders.alignment import ARCFACE, scale_template
from anti_i2v.errors import UsageError
from anti_i2v.imaging.landmarks import write_landmarks
from tests.tiny.onnx_faces import tiny_onnx, write_onnx

pytest.importorskip("onnx2torch", reason="needs anti-i2v[faces]")


@pytest.mark.parametrize("batch", ["N", 1])
def test_embeddings_are_those_of_onnxruntime_on_the_pictures_that_the_config_describes(tmp_path: Path, batch: int | str) -> None:
    write_onnx(tmp_path, tiny_onnx(batch=batch), channels="BGR", mean=[0.1, 0.2, 0.3], std=0.25, template=None)
    embedder = load_embedder(tmp_path, "objective")
    pictures = torch.rand(3, 3, 32, 32, requires_grad=True)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    inputs = (pictures.detach().numpy()[:, ::-1] - np.float32([0.1, 0.2, 0.3]).reshape(3, 1, 1)) / np.float32(0.25)
    expected = np.concatenate([session.run(None, {"x": one[None]})[0] for one in inputs])
    embedding, _ = embedder.embed(pictures)
    np.testing.assert_allclose(embedding.detach().numpy(), expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-5)
    embedding[0, 0].backward()
    assert pictures.grad is not None
    assert float(pictures.grad[0].abs().sum()) > 0
    assert float(pictures.grad[1:].abs().sum()) == 0
    assert (embedder.dim, embedder.template, embedder.name) == (6, None, tmp_path.name)
    assert not any(p.requires_grad for p in embedder.parameters())


def test_the_template_is_scaled_to_the_input(tmp_path: Path) -> None:
    assert load_embedder(write_onnx(tmp_path / "a"), "objective").template == scale_template(ARCFACE, 32)
    own = [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]]
    template = load_embedder(write_onnx(tmp_path / "b", template=own), "objective").template
    assert template is not None
    assert template.points[1] == (3.0, 4.0)


def test_an_old_file_is_brought_up_to_date(tmp_path: Path) -> None:
    assert load_embedder(write_onnx(tmp_path, tiny_onnx(opset=8)), "objective").dim == 6


def test_it_serves_the_role_of_its_config_only(tmp_path: Path) -> None:
    write_onnx(tmp_path, role="judge")
    load_embedder(tmp_path, "judge")
    with pytest.raises(UsageError, match="role 'judge', not 'objective'"):
        load_embedder(tmp_path, "objective")


def test_names_in_a_file_become_no_source(tmp_path: Path) -> None:
    model = tiny_onnx()
    for node in model.graph.node:
        node.name = f'") or __import__("pathlib").Path(r"{tmp_path}/ran").touch() or ("'
    load_embedder(write_onnx(tmp_path, model), "objective")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 64}, r"takes \? × 3 × 32 × 32 .* but config\.json says one input of 64 × 64 pixels"),
        ({"size": None}, "size is None; give the side"),
        ({"channels": "GRB"}, "channels is 'GRB'; give 'RGB' or 'BGR'"),
        ({"mean": [0.5, 0.5]}, r"mean is \[0\.5, 0\.5\]; give a number or a list of three"),
        ({"std": 0}, "std is 0; give positive numbers"),
        ({"template": "sface"}, "template is 'sface'; give dlib, arcface, null"),
        ({"colour": "RGB"}, "unknown setting 'colour'"),
        ({"threshold": 2}, "threshold is 2; give a cosine"),
        ({"pairs": [["a", "b"]]}, "pairs is .*; give a list of"),
        ({"pairs": [{"first": "../a.png", "second": "b.png", "same": True}]}, "'../a.png' of a pair is not in the folder"),
        ({"pairs": [{"first": "a.png", "second": "b.png", "same": True}]}, r"cannot read .*a\.png"),
    ],
)
def test_unusable_settings_are_refused(tmp_path: Path, settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_embedder(write_onnx(tmp_path, **settings), "objective")


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("Round", "has operators without a gradient: Round;"),
        ("Det", "cannot be converted to torch: Det"),
        ("Ceil", "gradient .*; its operators are"),
    ],
)
def test_operators_that_cannot_be_used_are_named(tmp_path: Path, extra: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_embedder(write_onnx(tmp_path, tiny_onnx(extra=extra)), "objective")


def test_a_missing_or_damaged_file_is_refused(tmp_path: Path) -> None:
    write_onnx(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"no network")
    with pytest.raises(UsageError, match=r"model\.onnx is no ONNX network, or damaged"):
        load_embedder(tmp_path, "objective")
    (tmp_path / "model.onnx").unlink()
    with pytest.raises(UsageError, match=r"no model\.onnx in"):
        load_embedder(tmp_path, "objective")


def test_known_pairs_catch_a_wrong_normalisation(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    faces = np.array([[12, 10], [12, 22], [17, 16], [22, 11], [22, 21]], float)
    write_onnx(tmp_path)
    embedder = load_embedder(tmp_path, "objective")
    pixels = [random.integers(0, 256, (8, 8, 3), np.uint8) for _ in range(8)]
    pictures = [Image.fromarray(each).resize((32, 32), Image.Resampling.BILINEAR) for each in pixels]
    tensors = torch.stack([torch.from_numpy(np.array(each)).permute(2, 0, 1).float() / 255 for each in pictures])
    crop, _ = embedder.crop(tensors, torch.from_numpy(faces).expand(8, 5, 2))
    cosines = embedder.embed(crop)[0] @ embedder.embed(crop)[0].T
    i, j = divmod(int(cosines.argmin()), 8)
    for name, picture in (("a.png", pictures[i]), ("b.png", pictures[j])):
        picture.save(tmp_path / name)
    write_landmarks(tmp_path, {"a.png": [faces], "b.png": [faces]})
    threshold = (1 + float(cosines[i, j])) / 2
    different = [{"first": "a.png", "second": "a.png", "same": True}, {"first": "a.png", "second": "b.png", "same": False}]
    load_embedder(write_onnx(tmp_path, pairs=different, threshold=threshold), "objective")
    same = [{"first": "a.png", "second": "b.png", "same": True}]
    message = rf"known pairs apart .*: a\.png and b\.png {float(cosines[i, j]):.2f} \(same person\); correct size"
    with pytest.raises(UsageError, match=message):
        load_embedder(write_onnx(tmp_path, pairs=same, threshold=threshold), "objective")
    with pytest.raises(UsageError, match=r"a\.png and a\.png 1\.00 \(same person\); a\.png and b\.png .* \(different people\)"):
        load_embedder(write_onnx(tmp_path, pairs=different, threshold=threshold, mean=-50), "objective")  # all look alike
    write_landmarks(tmp_path, {"a.png": []})
    with pytest.raises(UsageError, match=r"a\.png shows no face"):
        load_embedder(write_onnx(tmp_path, pairs=different), "objective")
