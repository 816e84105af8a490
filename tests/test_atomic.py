"""Complete or not at all, for files and folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from anti_i2v.atomic import PART_NAME, digest, part_path, write, write_folder
from anti_i2v.errors import UsageError


def test_a_file_appears_complete_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "table.md"
    with write(target) as part:
        part.write_text("first")
        assert not target.exists()
    with pytest.raises(ValueError, match="invalid mode"), write(target) as part, part.open("w") as file:
        open(file.fileno(), "?")  # noqa: PTH123, SIM115
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"table.md": "first"}
    with write(target) as part:
        part.write_text("third")
    assert target.read_text() == "third"


def test_a_part_is_hidden_names_its_process_and_is_never_too_long() -> None:
    path = Path("/photos") / ("a" * 250 + ".png")
    part = part_path(path)
    match = PART_NAME.fullmatch(part.name)
    assert part.parent == path.parent
    assert match is not None
    assert match.groups() == (digest(path), str(os.getpid()))


def test_a_folder_appears_complete_or_not_at_all_and_replaces_none_but_its_kind(tmp_path: Path) -> None:
    target = tmp_path / "runs" / "generator"
    with pytest.raises(ValueError, match="invalid mode"), write_folder(target) as part:
        part.joinpath("config.json").open("?")
    assert list(target.parent.iterdir()) == []
    for text in ("first", "second"):
        with write_folder(target) as part:
            assert list(part.iterdir()) == []
            (part / "config.json").write_text(text)
    assert [path.name for path in target.parent.iterdir()] == ["generator"]
    assert (target / "config.json").read_text() == "second"
    (tmp_path / "diary.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not a generator folder"), write_folder(tmp_path):
        pass
    with pytest.raises(UsageError, match=r"cannot write .*; choose another folder"), write_folder(tmp_path / "diary.txt" / "new"):
        pass
