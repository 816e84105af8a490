"""A tiny ONNX embedder as a user would bring one: convolution, PReLU, batch normalisation, pooling, a linear layer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def tiny_onnx(
    size: int = 32, dim: int = 6, seed: int = 0, extra: str | None = None, batch: int | str = "N", opset: int = 13
) -> onnx.ModelProto:
    """(N, 3, size, size) → (N, dim); with one more operator at the end where `extra` names one."""
    random = np.random.default_rng(seed)
    shapes = {
        "w": (4, 3, 3, 3),
        "slope": (4, 1, 1),
        "gamma": (4,),
        "beta": (4,),
        "mean": (4,),
        "var": (4,),
        "out_w": (dim, 4),
        "out_b": (dim,),
    }
    weights = {name: random.normal(0, 1, shape).astype(np.float32) for name, shape in shapes.items()}
    weights["var"] = np.abs(weights["var"]) + 0.5
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("PRelu", ["c", "slope"], ["p"]),
        helper.make_node("BatchNormalization", ["p", "gamma", "beta", "mean", "var"], ["b"]),
        helper.make_node("GlobalAveragePool", ["b"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Gemm", ["f", "out_w", "out_b"], ["last" if extra else "y"], transB=1),
    ]
    if extra:
        nodes.append(helper.make_node(extra, ["last"], ["y"]))
    graph = helper.make_graph(
        nodes,
        "faces",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, size, size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, dim])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def write_onnx(folder: Path, model: onnx.ModelProto | None = None, **settings: object) -> Path:
    """Write an embedder's folder, for objectives where the settings name no role; the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(tiny_onnx() if model is None else model, str(folder / "model.onnx"))
    config = {"format": 1, "kind": "onnx", "role": "objective", "size": 32} | settings
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder
