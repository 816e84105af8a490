"""Any embedder of the user's as an ONNX file (ArcFace, AdaFace, EdgeFace, …), run in torch with gradients.

A folder holds `model.onnx` and `config.json`, which states what the file does not: `docs/training.md` lists its fields. The conversion is
onnx2torch's. It makes Python source of the names in the file, so names are replaced before: a file from a stranger runs no code.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from anti_i2v.embedders.alignment import TEMPLATES, Template, scale_template
from anti_i2v.embedders.base import CERTAIN, Embedder
from anti_i2v.errors import UsageError

if TYPE_CHECKING:
    from onnx import ModelProto

KIND = "onnx"
FILE = "model.onnx"
NO_GRADIENT = frozenset(
    """ArgMax ArgMin Bernoulli ConvInteger DynamicQuantizeLinear MatMulInteger Multinomial NonMaxSuppression NonZero QLinearConv
    QLinearMatMul QuantizeLinear RandomNormal RandomUniform Round Sign""".split()  # noqa: SIM905
)
"""Operators that no gradient passes, or whose values are drawn anew at every call."""
OLDEST = 11
"""Version of the operators below which a file is converted by onnx first: onnx2torch knows few older ones."""


class OnnxEmbedder(Embedder):
    """A network of an ONNX file behind the interface of identity embedders.

    Args:
        network: (N, 3, size, size) → (N, dim).
        size: Height and width of its input in pixels.
        dim: Length of an embedding.
        channels: Their order in the input.
        mean: What is taken away from each channel, in that order, of pictures in [0, 1],
        std: before they are divided by this.
        template: Where landmarks must lie in the input; None where it takes whole pictures.
        one_by_one: The network takes batches of one picture only.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        size: int,
        dim: int,
        channels: Literal["RGB", "BGR"],
        mean: Sequence[float],
        std: Sequence[float],
        template: Template | None,
        one_by_one: bool = False,
    ) -> None:
        super().__init__()
        self.network, self.size, self.dim, self.template = network, size, dim, template
        self.reverse, self.one_by_one = channels == "BGR", one_by_one
        self.register_buffer("mean", torch.tensor(list(mean)).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(list(std)).view(3, 1, 1), persistent=False)

    def embed(self, images: Tensor, faces: int | None = None) -> tuple[Tensor, Tensor]:
        """See `Embedder.embed`; the network cannot tell whether there is a face: every logit is `CERTAIN`."""
        x = images[:faces].float()
        x = ((x.flip(1) if self.reverse else x) - self.mean) / self.std
        out = torch.cat([self.network(one[None]) for one in x]) if self.one_by_one and len(x) else self.network(x)
        return F.normalize(out.flatten(1).float(), dim=1), torch.full((len(images),), CERTAIN, device=images.device)


def build_onnx(folder: Path, settings: Mapping[str, Any]) -> OnnxEmbedder:
    """The embedder of a folder, frozen, checked with the pairs that its config names.

    Args:
        folder: With `model.onnx`.
        settings: Of `config.json`, without `format`, `kind` and `role`.

    Raises:
        UsageError: A setting is unknown or unusable, the file is missing, damaged or of another input size, it has operators that have no
            gradient or are unknown, or a known pair comes out wrong.
    """
    from anti_i2v.embedders.pairs import check_pairs

    values = {"channels": "RGB", "mean": 0.5, "std": 0.5, "template": "arcface", "pairs": [], "threshold": 0.3} | dict(settings)
    where = folder / "config.json"
    if unknown := sorted(values.keys() - {"size", "channels", "mean", "std", "template", "pairs", "threshold"}):
        raise UsageError(f"{where} has an unknown setting {unknown[0]!r}; remove it, or see docs/training.md")
    size, channels = values.get("size"), values["channels"]
    if not isinstance(size, int) or not 8 <= size <= 1024:
        raise UsageError(f"{where}: size is {size!r}; give the side of the network's input in pixels, 8 to 1024")
    if channels not in ("RGB", "BGR"):
        raise UsageError(f"{where}: channels is {channels!r}; give 'RGB' or 'BGR'")
    mean, std = (_three(values[name], name, where) for name in ("mean", "std"))
    if min(std) <= 0:
        raise UsageError(f"{where}: std is {values['std']!r}; give positive numbers, for pictures in [0, 1]")
    template = _template(values["template"], size, where)
    network, one_by_one = convert(folder / FILE, size)
    dim = _check_gradient(network, folder / FILE, size)
    embedder = OnnxEmbedder(network, size, dim, channels, mean, std, template, one_by_one).eval().requires_grad_(False)
    embedder.name = folder.name
    check_pairs(embedder, folder, values["pairs"], values["threshold"])
    return embedder


def _three(value: object, name: str, where: Path) -> list[float]:
    given = value if isinstance(value, list) else [value] * 3
    values = [v for v in given if isinstance(v, (int, float)) and abs(v) < 1e4]
    if len(given) != 3 or len(values) != 3:
        raise UsageError(f"{where}: {name} is {value!r}; give a number or a list of three, for pictures in [0, 1]")
    return [float(v) for v in values]


def _template(value: object, size: int, where: Path) -> Template | None:
    if value is None:
        return None
    if isinstance(value, str) and value in TEMPLATES:
        return scale_template(TEMPLATES[value], size)
    try:
        points = torch.tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        points = torch.empty(0)
    if points.shape != (5, 2):
        raise UsageError(f"{where}: template is {value!r}; give {', '.join(TEMPLATES)}, null for whole pictures, or five points [y, x]")
    return Template(tuple((float(y), float(x)) for y, x in points), (1.0,) * 5, size)


def convert(file: Path, size: int) -> tuple[nn.Module, bool]:
    """The network of an ONNX file as a torch module, and whether it takes single pictures only.

    Raises:
        UsageError: onnx2torch is not installed, the file is missing or damaged, takes other pictures, or has operators that cannot be used.
    """
    try:
        import onnx
        from onnx2torch import convert as to_torch
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the identity embedder {file} needs {error.name}, which is not installed; pip install 'anti-i2v[faces]'"
        ) from None
    if not file.is_file():
        raise UsageError(f"no {file.name} in {file.parent}; put the network there")
    try:
        model = onnx.load(str(file))
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf's own kinds, and onnx's
        raise UsageError(f"{file} is no ONNX network, or damaged: {_first_line(error)}; export it again") from error
    batch = _check_input(model, file, size)
    if refused := sorted({node.op_type for node in model.graph.node} & NO_GRADIENT):
        raise UsageError(f"{file} has operators without a gradient: {', '.join(refused)}; export the network without them, in float32")
    try:
        if next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), OLDEST) < OLDEST:
            model = onnx.version_converter.convert_version(model, 13)
        network: nn.Module = to_torch(_without_names(model))
    except Exception as error:
        kinds = sorted({node.op_type for node in model.graph.node if f"'{node.op_type}'" in str(error)})
        what = f"operators that cannot be converted to torch: {', '.join(kinds)}" if kinds else "a graph that cannot be converted to torch"
        raise UsageError(f"{file} has {what} ({_first_line(error)}); export it again, with another opset or without them") from error
    return network.eval().requires_grad_(False), batch == 1


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _check_input(model: ModelProto, file: Path, size: int) -> int:
    """The number of pictures that the network takes at once, 0 where it takes any."""
    weights = {weight.name for weight in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    sizes = [[d.dim_value for d in value.type.tensor_type.shape.dim] for value in inputs]
    expected = f"one input of {size} × {size} pixels with three channels first"
    fits = len(sizes) == 1 and len(sizes[0]) == 4 and all(own in (0, n) for own, n in zip(sizes[0][1:], (3, size, size), strict=True))
    if not fits or len(model.graph.output) != 1:
        words = "; ".join(" × ".join(str(n or "?") for n in own) for own in sizes)
        raise UsageError(
            f"{file} takes {words or 'nothing'} and has {len(model.graph.output)} outputs, but config.json says {expected} and one output; "
            "correct size, or export it so"
        )
    return int(sizes[0][0])


def _without_names(model: ModelProto) -> ModelProto:
    """The same model in which every node and value has a name of ours."""
    names: dict[str, str] = {"": ""}
    numbers = itertools.count()

    def rename(name: str) -> str:
        if name not in names:
            names[name] = f"value_{next(numbers)}"
        return names[name]

    graph = model.graph
    graph.name = "network"
    for value in (*graph.initializer, *graph.input, *graph.output, *graph.value_info):
        value.name = rename(value.name)
    for number, node in enumerate(graph.node):
        node.name = f"node_{number}"
        for side in (node.input, node.output):
            side[:] = [rename(name) for name in side]
    return model


def _check_gradient(network: nn.Module, file: Path, size: int) -> int:
    """The length of an embedding, after a gradient has passed the network from end to end."""
    kinds = sorted({type(module).__name__.removeprefix("Onnx") for module in network.modules() if not list(module.children())})
    picture = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0)).requires_grad_()
    try:
        out = network(picture)
        gradient = torch.autograd.grad(out.flatten(1).float().square().sum(), picture)[0]
    except Exception as error:
        raise UsageError(f"no gradient passes {file}: {_first_line(error)}; its operators are {', '.join(kinds)}") from error
    if not bool(gradient.isfinite().all()) or not bool(gradient.any()):
        raise UsageError(f"the gradient of {file} is zero or not finite; its operators are {', '.join(kinds)}; one of them passes none")
    return int(out.flatten(1).shape[1])
