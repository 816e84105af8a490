"""The tiny models of the session, and fixtures that most tests of a family use; a test file chooses its `family`."""

from __future__ import annotations

from pathlib import Path

import pytest
from diffusers import DiffusionPipeline
from torch import Tensor

from anti_i2v.surrogates import Draw, Surrogate
from tests.surrogates.family import FAMILIES, PROMPT, Family, TinyModels, draw_at


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyModels:
    return TinyModels(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def family() -> Family:
    """The layout of Wan that the shipped model shares, unless a test file says otherwise."""
    return FAMILIES["wan-2.2-5b"]


@pytest.fixture(scope="module")
def folder(family: Family, tiny: TinyModels) -> Path:
    return tiny.folder(family.name)


@pytest.fixture(scope="module")
def surrogate(family: Family, tiny: TinyModels) -> Surrogate:
    return tiny.surrogate(family.name)


@pytest.fixture(scope="module")
def pipeline(family: Family, tiny: TinyModels) -> DiffusionPipeline:
    """The same folder, loaded by diffusers itself."""
    return tiny.pipeline(family.name)


@pytest.fixture
def photos(family: Family) -> Tensor:
    """Two photos on the 8-bit grid."""
    return family.photos()


@pytest.fixture(scope="module")
def text(surrogate: Surrogate) -> dict[str, Tensor]:
    return surrogate.encode_text([PROMPT])


@pytest.fixture
def draw(surrogate: Surrogate) -> Draw:
    """The noisiest step."""
    return draw_at(surrogate, 0)
