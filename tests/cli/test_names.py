"""Names of files that shells, terminals and disks take for something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from anti_i2v.__main__ import main
from anti_i2v.errors import printable
from tests.tiny.generator import Capture, Protect, smooth


def test_a_name_cannot_command_a_terminal_nor_hide_the_reason(protect: Protect, tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("two\nlines.jpg", "red\x1b[31m.jpg"):
        (folder / name).write_text("no picture")
    smooth(1).save(folder / "good\nname.png")
    assert protect(folder, "--out", tmp_path / "out") == 1
    told = capsys.readouterr()
    assert r"two\nlines.jpg: not a picture of a known format; remove it" in told.err
    assert r"red\x1b[31m.jpg: not a picture" in told.err
    assert len(told.err.splitlines()) == 3
    assert "\x1b" not in told.err
    assert (tmp_path / "out" / "good\nname.png").is_file()
    assert protect(folder / "two\nlines.jpg", "--out", tmp_path / "out") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert r"two\nlines.jpg: not a picture" in line


def test_what_people_write_is_printed_as_it_is() -> None:
    assert printable("Zoë 👩‍👩‍👧 año\u3000年 /x\udcff.jpg") == "Zoë 👩‍👩‍👧 año\u3000年 /x\udcff.jpg"
    assert printable("a\u202egpj.exe\x85\x7f") == r"a\u202egpj.exe\x85\x7f"


@pytest.mark.parametrize("name", ["-a.png", "--overwrite"])
def test_a_file_that_looks_like_an_option_is_not_taken_for_one(
    protect: Protect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    smooth(1).save(tmp_path / name, "PNG")
    assert protect(name, "--out", "out") == 2
    assert f"{name} is a file here and looks like an option; write ./{name} for the file" in capsys.readouterr().err
    assert protect(f"./{name}", "--out", "out") == 0
    capsys.readouterr()
    assert main(["protect", "--out", "again", "--dry-run", "--", name]) == 0
    assert f"{name} → again/" in capsys.readouterr().out


def test_photos_that_are_in_the_cloud_only_are_told_of(protect: Protect, tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    smooth(1).save(folder / "a.png")
    for name in (".IMG_1.HEIC.icloud", ".notes.txt.icloud"):
        (folder / name).write_bytes(b"bplist00")
    assert protect(folder, "--out", tmp_path / "out") == 1
    told = capsys.readouterr().err
    assert "IMG_1.HEIC is in iCloud only, not on this machine; let Finder download it and run again" in told
    assert "notes" not in told
