"""The network as ONNX, for runtimes without torch (browsers, phones); colour conversion and budget stay outside."""

from __future__ import annotations

import json
import struct
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from anti_i2v import atomic
from anti_i2v.errors import UsageError, needs_train
from anti_i2v.generators.base import Generator
from anti_i2v.generators.folder import ONNX, ORIGIN, SALIENCE_ONNX, WEIGHTS, fingerprint
from anti_i2v.generators.half import as_in_file
from anti_i2v.keys import KEY_SIZE

if TYPE_CHECKING:
    from onnx import ModelProto

SMALL = 1024  # bytes; smaller tensors stay in the graph, as runtimes read them while they plan


class _Flat(nn.Module):
    """ONNX has ordered outputs, not dictionaries."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, window: Tensor, epsilon: Tensor, key: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.generator(window, epsilon, key).values())


def export_onnx(generator: Generator, folder: str | Path) -> Path:
    """Write `model.onnx` and `salience.onnx` into a generator folder; each appears complete or not at all.

    Inputs of the first: `window` (N, 3, S, S) in [0, 1], `epsilon` (N,) in 1/255 steps and `key` (N, 32), any N; outputs: those of
    `Generator.forward` by their names, all float32. The second takes `image` (1, 3, h, w) of any size; see `SalienceNetwork`.

    Weights that stand in `model.safetensors` beside it are not written again: the graph refers to their place there, as ONNX does for
    "external data", so any runtime that opens the file by its path finds them. Those that stand there in half precision are exported as
    they were rounded, and cast to float32 in the graph, which runtimes do once, as they load.

    Args:
        generator: On the CPU; weights that are not in the folder become constants of the graph.
        folder: An existing folder.

    Returns:
        The first file's path.

    Raises:
        UsageError: The packages that write ONNX are not installed, the network has what ONNX has not, or the folder is missing.
    """
    with needs_train("writing ONNX"):
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    target = Path(folder).expanduser() / ONNX
    if not target.parent.is_dir():
        raise UsageError(f"no folder {str(folder)!r}; write the generator there first")
    generator, size = as_in_file(generator, target.with_name(WEIGHTS)), generator.working_size
    batch, example = torch.export.Dim("batch"), (torch.rand(2, 3, size, size), torch.tensor([4.0, 8.0]), torch.randn(2, KEY_SIZE))
    shapes = {name: {0: batch} for name in ("window", "epsilon", "key")}
    side = {2: torch.export.Dim("height", min=8, max=2**16), 3: torch.export.Dim("width", min=8, max=2**16)}
    try:
        _write(_Flat(generator).eval(), example, list(generator(*example)), shapes, target)
        _write(generator.salience, (torch.rand(1, 3, 48, 64),), ["found"], {"image": side}, target.with_name(SALIENCE_ONNX), fold=False)
    except torch.onnx.OnnxExporterError as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"{type(generator).__name__} cannot be written as ONNX ({reason}); protect with --runtime torch") from None
    return target


def _write(
    network: nn.Module,
    example: tuple[Tensor, ...],
    outputs: list[str],
    shapes: dict[str, dict[int, torch.export.Dim]],
    target: Path,
    fold: bool = True,
) -> None:
    """Write a network; `shapes` says by input which dimensions may change.

    Batch norms that are folded into convolutions become weights of their own, which `model.safetensors` has not: without `fold` the file
    stays small, and runtimes fold as they load.
    """
    with atomic.write(target) as part, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # several axes are called batch, and are one
        torch.onnx.export(
            network,
            example,
            part,
            input_names=list(shapes),
            output_names=outputs,
            dynamic_shapes=shapes,
            dynamo=True,
            opset_version=20,
            external_data=False,  # `_finish` refers to model.safetensors instead
            optimize=fold,
            verbose=False,
        )
        _finish(part, target.parent)


def _finish(path: Path, folder: Path) -> None:
    """Note whose weights these are, refer to them, and remove what torch notes: stack traces with the paths of the machine."""
    import onnx

    model = onnx.load(path)
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    onnx.helper.set_model_props(model, {ORIGIN: fingerprint(folder)})
    if (folder / WEIGHTS).is_file():
        _refer_to(model, (folder / WEIGHTS).read_bytes())
    path.write_bytes(model.SerializeToString())


def _refer_to(model: ModelProto, weights: bytes) -> None:
    """Replace the tensors of a graph that stand in a safetensors file by their place there, those in half precision by a cast of it."""
    from onnx import TensorProto, helper, numpy_helper

    places, casts = _places(weights), []
    for tensor in model.graph.initializer:
        place = places.get((tensor.data_type, numpy_helper.to_array(tensor).tobytes()))
        if place is None:
            continue
        for field in ("raw_data", "float_data"):
            tensor.ClearField(field)
        if place[0] != tensor.data_type:
            casts.append(helper.make_node("Cast", [f"{tensor.name}.half"], [tensor.name], to=tensor.data_type))
            tensor.name, tensor.data_type = f"{tensor.name}.half", place[0]
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in zip(("location", "offset", "length"), (WEIGHTS, *place[1:]), strict=True):
            tensor.external_data.add(key=key, value=str(value))
    nodes = [*casts, *model.graph.node]
    model.graph.ClearField("node")
    model.graph.node.extend(nodes)


def _places(weights: bytes) -> dict[tuple[int, bytes], tuple[int, int, int]]:
    """The tensors of a safetensors file that are not small: ONNX type and content, of half precision in fp32, → type, offset, length."""
    from onnx import TensorProto

    length = 8 + struct.unpack("<Q", weights[:8])[0]  # the offsets in the header count from its end
    header, found = json.loads(weights[8:length]), {}
    for name, entry in header.items():
        if name == "__metadata__" or entry["dtype"] not in ("F32", "F16"):
            continue
        begin, end = (length + offset for offset in entry["data_offsets"])
        content, kind = weights[begin:end], TensorProto.FLOAT
        if entry["dtype"] == "F16":
            content, kind = np.frombuffer(content, np.float16).astype(np.float32).tobytes(), TensorProto.FLOAT16
        if end - begin >= SMALL:
            found[TensorProto.FLOAT, content] = kind, begin, end - begin
    return found
