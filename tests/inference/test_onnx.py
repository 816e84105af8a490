"""Protecting with onnxruntime gives what torch gives: the same bound, the same pixels but for roundings at a tie."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file
from skimage import data
from torch import Tensor, nn

from anti_i2v.errors import UsageError
from anti_i2v.generators import Generator
from anti_i2v.generators.onnx import export_onnx
from anti_i2v.inference import apply, onnx
from anti_i2v.inference.apply import protect_photo
from anti_i2v.inference.onnx import OnnxBackend
from anti_i2v.keys import PUBLIC_KEY
from anti_i2v.protector import Protector
from tests.tiny.generator import finding

pytest.importorskip("onnxruntime")


class AllSpaces(Generator):
    """A network with parameters for every space, as large as epsilon: at 32 it reaches every bound and leaves RGB far behind."""

    def __init__(self) -> None:
        super().__init__(salience=None)
        finding(self)
        self.working_size = 32
        self.network = nn.Conv2d(3, 8, 3)

    def config(self) -> dict[str, str | int | float]:
        return {}

    def forward(self, window: Tensor, epsilon: Tensor, key: Tensor) -> dict[str, Tensor]:
        x = self.network(window - 0.5) * (epsilon * key[:, 0]).view(-1, 1, 1, 1)
        sizes = {"frequency": 9, "lab": 6, "rgb": 15}
        seen = {name: F.adaptive_avg_pool2d(x, size) if 30 % size == 0 else x[..., :size, :size] for name, size in sizes.items()}
        return {"frequency": seen["frequency"][:, :3], "lab": seen["lab"][:, 3:5], "rgb": seen["rgb"][:, 5:]}


@pytest.fixture
def folder(onnx_generator: Path) -> Path:
    """A generator with a key, and with a face everywhere."""
    return onnx_generator


@pytest.fixture(scope="module")
def both(onnx_generator: Path) -> tuple[Protector, Protector]:
    return Protector.from_pretrained(onnx_generator, backend="torch"), Protector.from_pretrained(onnx_generator, backend="onnx")


def photo(kind: str, size: tuple[int, int] = (160, 120)) -> Image.Image:
    """A portrait of a mode, or on its side."""
    upright = Image.fromarray(data.astronaut()).resize(size)
    if kind == "I;16":
        return Image.fromarray((np.asarray(upright.convert("L")).astype(np.uint16) * 257) ^ 0x35)
    if kind == "lying":
        lying = upright.transpose(Image.Transpose.ROTATE_90)
        lying.getexif()[274] = 6
        return lying
    found = upright.convert(kind)
    if "A" in kind:
        found.putalpha(Image.linear_gradient("L").resize(size))
    return found


def compare(protector: Protector, other: Protector, before: Image.Image, epsilon: float) -> float:
    """The share of values that both give, having checked that none is further than one step from the other or than epsilon allows."""
    one, two = protector.protect(before, epsilon, "none"), other.protect(before, epsilon, "none")
    assert (one.mode, one.size, one.info) == (two.mode, two.size, two.info)
    step = 257 if one.mode == "I;16" else 1
    kept = before if before.mode == one.mode else before.convert(one.mode)
    values = [np.asarray(image).astype(np.int32) for image in (one, two, kept)]
    assert np.abs(values[1] - values[0]).max() <= step
    assert np.abs(values[1] - values[2]).max() <= step * int(epsilon)
    return float((values[0] == values[1]).mean())


@pytest.mark.parametrize("epsilon", [0.0, 0.5, 1.9999999999, 8.0, 16.0, 32.0])
def test_a_photo_gets_the_pixels_that_torch_gives(both: tuple[Protector, Protector], epsilon: float) -> None:
    shares = [compare(*both, photo("RGB", size), epsilon) for size in ((400, 300), (131, 77), (1, 1), (3, 700))]
    assert min(shares) >= 0.999
    assert np.mean(shares) >= 0.9999


@pytest.mark.parametrize("kind", ["L", "LA", "RGBA", "CMYK", "P", "1", "I;16", "lying"])
def test_so_does_a_photo_of_any_mode(both: tuple[Protector, Protector], kind: str) -> None:
    assert compare(*both, photo(kind), 8) >= 0.999
    assert compare(*both, photo(kind, (1000, 40)), 32) >= 0.999


def test_so_does_a_large_photo_in_blocks(both: tuple[Protector, Protector]) -> None:
    assert compare(*both, photo("RGB", (2500, 1800)), 8) >= 0.9999


@pytest.mark.parametrize("value", [0, 255])
def test_so_do_black_and_white(both: tuple[Protector, Protector], value: int) -> None:
    plain = Image.new("RGB", (40, 30), (value,) * 3)
    assert compare(*both, plain, 8) >= 0.999


@pytest.mark.slow
def test_every_space_of_a_network_is_applied_at_any_strength(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    generator = AllSpaces().eval()
    sessions = (onnx.load_session(file.read_bytes()) for file in (export_onnx(generator, tmp_path), tmp_path / "salience.onnx"))
    both = Protector(generator), Protector(None, backend=OnnxBackend(*sessions))
    for epsilon in (1, 8, 32):
        assert compare(*both, photo("RGB", (333, 202)), epsilon) >= 0.999
        assert compare(*both, photo("CMYK", (64, 48)), epsilon) >= 0.999


def test_the_same_photo_gives_the_same_bytes_in_strips_of_any_size(
    folder: Path, both: tuple[Protector, Protector], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = photo("RGB", (300, 500))
    first = both[1].protect(before).tobytes()
    assert both[1].protect(before).tobytes() == Protector.from_pretrained(folder, backend="onnx").protect(before).tobytes() == first
    monkeypatch.setattr(apply, "STRIP", 7 * 300)
    assert both[1].protect(before).tobytes() == first


def test_the_default_epsilon_is_the_folders_and_zero_gives_the_photo_back(both: tuple[Protector, Protector]) -> None:
    before = photo("RGB")
    assert both[1].epsilon == both[0].epsilon == 8
    assert both[1].protect(before).tobytes() == both[1].protect(before, 8).tobytes() != before.tobytes()
    assert both[1].protect(before, 0).tobytes() == before.tobytes()
    for epsilon in (-1, 33, float("nan")):
        with pytest.raises(UsageError, match="outside 0–32"):
            both[1].protect(before, epsilon)


def test_a_network_that_yields_no_numbers_is_named(both: tuple[Protector, Protector], monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        """A session of the same shape."""

        def __getattr__(self, name: str) -> object:
            return getattr(both[1].backend.session, name)

        def run(self, names: list[str], given: dict[str, np.ndarray]) -> list[np.ndarray]:
            return [np.full((1, 3, 4, 4), np.nan, np.float32) for _ in names]

    with pytest.raises(UsageError, match="not finite"):
        protect_photo(OnnxBackend(Broken(), both[1].backend.salience), photo("RGB"), 8, PUBLIC_KEY)  # type: ignore[arg-type, attr-defined]


def test_a_folder_without_what_is_needed_says_how_to_get_it(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no config\.json"):
        Protector.from_pretrained(tmp_path, backend="onnx")
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    with pytest.raises(UsageError, match=r"no model\.onnx in .* `anti-i2v export` writes one, and --runtime torch"):
        Protector.from_pretrained(tmp_path, backend="onnx")
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    for name in ("model.onnx", "salience.onnx"):
        with pytest.raises(UsageError, match=f"no {name} in .* `anti-i2v export` writes one, and --runtime torch"):
            Protector.from_pretrained(tmp_path, backend="onnx")
        whole = (folder / name).read_bytes()
        for torn in (b"", b"torn", whole[:-1000], whole[:1000]):
            (tmp_path / name).write_bytes(torn)
            (tmp_path / "salience.onnx").touch()
            with pytest.raises(UsageError, match=f"{name} cannot be loaded .*; get it again, or take --runtime torch") as caught:
                Protector.from_pretrained(tmp_path, backend="onnx")
            assert "\n" not in str(caught.value)
        (tmp_path / name).write_bytes(whole)
        if name == "model.onnx":
            (tmp_path / "salience.onnx").unlink()
    assert Protector.from_pretrained(tmp_path, backend="onnx").epsilon == 8


def test_a_network_of_another_kind_is_refused(folder: Path) -> None:
    helper = pytest.importorskip("onnx.helper")
    values = [helper.make_tensor_value_info(name, 1, ["batch", 3, 8, 8]) for name in ("pixels", "class")]
    graph = helper.make_graph([helper.make_node("Identity", ["pixels"], ["class"])], "other", values[:1], values[1:])
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()
    other, own = onnx.load_session(content), Protector.from_pretrained(folder, backend="onnx").backend
    with pytest.raises(UsageError, match="no generator of this project: its values are pixels, class"):
        OnnxBackend(other, own.salience)  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match=r"salience\.onnx is no salience network of this project: it takes pixels"):
        OnnxBackend(own.session, other)  # type: ignore[attr-defined]


@pytest.mark.parametrize("place", ["secret.bin", "../secret.bin", "{folder}/secret.bin"])
def test_a_network_reads_no_other_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    onnx_file = pytest.importorskip("onnx")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.bin").write_bytes(bytes(16))
    values = [onnx_file.helper.make_tensor_value_info(name, 1, [4]) for name in ("image", "lab")]
    secret = onnx_file.TensorProto(name="secret", dims=[4], data_type=1, data_location=onnx_file.TensorProto.EXTERNAL)
    for key, value in (("location", place.format(folder=tmp_path)), ("offset", "0"), ("length", "16")):
        secret.external_data.add(key=key, value=value)
    node = onnx_file.helper.make_node("Add", ["image", "secret"], ["lab"])
    graph = onnx_file.helper.make_graph([node], "hostile", values[:1], values[1:], [secret])
    content = onnx_file.helper.make_model(graph, opset_imports=[onnx_file.helper.make_opsetid("", 20)], ir_version=10).SerializeToString()
    for weights in (b"", bytes(64)):
        with pytest.raises(UsageError, match="cannot be loaded"):
            onnx.load_session(content, weights)


def test_a_network_of_other_weights_than_those_beside_it_is_refused(folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(folder, tmp_path / "generator")
    assert Protector.from_pretrained(folder, backend="onnx").epsilon == 8
    weights = load_file(folder / "model.safetensors")
    save_file({name: value + 0.1 for name, value in weights.items()}, folder / "model.safetensors")
    with pytest.raises(UsageError, match="made of other weights than those beside it; export the generator again, or take --runtime torch"):
        Protector.from_pretrained(folder, backend="onnx")
