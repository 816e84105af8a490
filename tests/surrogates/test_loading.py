"""The version of an embedded world is checked before a weight is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from anti_i2v.errors import UsageError
from anti_i2v.surrogates.loading import WORLD, read_index


def _folder(path: Path, world: object) -> Path:
    (path / "model_index.json").write_text(json.dumps({"_class_name": "WanImageToVideoPipeline"}))
    (path / "world.json").write_text(world if isinstance(world, str) else json.dumps(world))
    return path


def test_a_world_of_another_version_is_refused_with_both_versions(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf"version {WORLD + 1}, this anti_i2v knows version {WORLD}"):
        read_index(str(_folder(tmp_path, {"version": WORLD + 1})))


def test_this_version_is_read(tmp_path: Path) -> None:
    location, index = read_index(str(_folder(tmp_path, {"version": WORLD})))
    assert (location, index["_class_name"]) == (str(tmp_path), "WanImageToVideoPipeline")


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_a_broken_version_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match=r"world\.json names no version"):
        read_index(str(_folder(tmp_path, text)))
