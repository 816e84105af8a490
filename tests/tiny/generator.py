"""A generator folder with random weights that sees a face everywhere, and colourful pictures that show its residual."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch
from PIL import Image

from anti_i2v.generators import BackboneGenerator, Generator
from anti_i2v.generators.salience import SalienceNetwork
from anti_i2v.protector import Protector

Protect = Callable[..., int]
Capture = pytest.CaptureFixture[str]
EPSILON = 4
Network = TypeVar("Network", bound=Generator)


def smooth(seed: int, height: int = 40, width: int = 56) -> Image.Image:
    """A colourful picture without extremes, so that a residual shows."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(60, 200, (4, 5, 3), dtype=np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


def save_photos(folder: Path, widths: Iterable[int]) -> Path:
    """A folder of photos of different widths, each named by it."""
    folder.mkdir()
    for width in widths:
        smooth(width, 30, width).save(folder / f"{width}.png")
    return folder


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def all_faces(salience: SalienceNetwork) -> SalienceNetwork:
    """Let a salience network see a face 20 pixels high in every cell of every copy: all of a photo is protected, up to 64 windows."""
    torch.nn.init.zeros_(salience.head.weight)
    with torch.no_grad():
        salience.head.bias.copy_(torch.tensor([2.0, 0.0, 0.0, 0.0]))
    return salience


def finding(generator: Network) -> Network:
    """The same generator, which now finds a face everywhere."""
    all_faces(generator.salience)
    return generator


def tiny_network(seed: int = 0, **settings: object) -> BackboneGenerator:
    """A small generator with its own random weights, which finds a face everywhere."""
    sizes: dict[str, object] = {"backbone": "resnet10t", "working_size": 32, "chroma_size": 4, "cutoff": 4, "width": 16}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return finding(BackboneGenerator(**sizes | settings, salience=None))  # type: ignore[arg-type]


def tiny_onnx(folder: Path, **settings: object) -> Path:
    """Write a generator's folder with `model.onnx` and `salience.onnx`; it is returned. Some ten seconds."""
    from anti_i2v.generators.onnx import export_onnx

    protector = Protector(tiny_network(**settings).eval())
    protector.save_pretrained(folder, card="# tiny\n", extra={"protects_against": "a test model"})
    export_onnx(protector.generator, folder)
    return folder


def tiny_generator(folder: Path) -> Path:
    """Write the folder; it is returned."""
    Protector(tiny_network()).save_pretrained(folder, card="# tiny\n", extra={"protects_against": "a test model"})
    return folder
