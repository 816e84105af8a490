"""Weights of a folder in half precision: half the bytes, nothing that rounding would harm, and the numbers that ONNX has, too."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from anti_i2v.generators.half import as_in_file, as_stored
from anti_i2v.protector import Protector
from tests.tiny.generator import tiny_network


def test_a_written_folder_holds_half_and_loads_as_float32(tmp_path: Path) -> None:
    network = tiny_network()
    Protector(network).save_pretrained(tmp_path / "mine", card="# mine")
    stored, loaded = load_file(tmp_path / "mine/model.safetensors"), Protector.from_pretrained(tmp_path / "mine", backend="torch").generator
    assert {value.dtype for value in stored.values() if value.ndim > 1} == {torch.float16}
    for name, value in network.state_dict().items():
        own = loaded.state_dict()[name]
        assert own.dtype == value.dtype
        assert torch.equal(own, value.half().float() if value.ndim > 1 else value)


def test_a_folder_in_float32_keeps_its_numbers(tmp_path: Path) -> None:
    network = tiny_network()
    Protector(network).save_pretrained(tmp_path / "old", card="# old")
    save_file(network.state_dict(), tmp_path / "old/model.safetensors")
    loaded = Protector.from_pretrained(tmp_path / "old", backend="torch").generator
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in loaded.state_dict().items())


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([[1.0, 1e-9]], torch.float16),  # the small one rounds to 0, which moves the sum by nothing
        ([[0.0, 0.0]], torch.float16),
        ([[65504.0, 1.0]], torch.float16),
        ([[70000.0, 1.0]], torch.float32),  # more than half precision holds
        ([[1e-6, 3e-7]], torch.float32),  # all so small that few bits are left
        ([[float("nan"), 1.0]], torch.float32),
        ([1.0, 2.0], torch.float32),  # a vector, such as a variance
    ],
)
def test_what_rounding_would_move_stays_as_it_is(values: list[object], dtype: torch.dtype) -> None:
    assert as_stored(torch.tensor(values)).dtype == dtype


def test_only_weights_that_the_file_holds_are_rounded(tmp_path: Path) -> None:
    network = tiny_network()
    state = network.state_dict()
    other = next(name for name, value in state.items() if value.ndim > 1)
    save_file({name: as_stored(value) + (name == other) for name, value in state.items()}, tmp_path / "model.safetensors")
    copy = as_in_file(network, tmp_path / "model.safetensors").state_dict()
    for name, value in state.items():
        assert torch.equal(copy[name], value if name == other or value.ndim < 2 else value.half().float())
    assert torch.equal(as_in_file(network, tmp_path / "none").state_dict()[other], state[other])
