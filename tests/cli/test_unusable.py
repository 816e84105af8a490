"""Arguments of `anti-i2v protect` that cannot be used: one line says what is wrong, the status is 2, and no file is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from anti_i2v.__main__ import main
from tests.tiny.generator import Capture, files, smooth

TO_OUT = ("a.png", "--out", "out")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["cut.png", "--out", "out"], "cannot read"),
        (["none.png", "--out", "out"], "no such file"),
        (["folder", "--out", "out"], "no photo in"),
        (["photos.tar.gz", "--out", "out"], "unpack it first"),
        (["", "--out", "out"], "a path is empty"),
        (["a.png"], "--out"),
        (["a.png", "--out", ""], "a path is empty"),
        (["a.png", "--out", "a.png/out"], "out"),
        (["a.png", "--out", "b.png"], "it is a file"),
        (["a.png", "--out", "z" * 300], "too long"),
        (["old.gif", "--in-place"], "give --out"),
        (["a.png", "--in-place", "--format", "png"], "leave out --format png"),
        (["-", "--out", "out"], "--out -"),
        (["a.png", "--out", "-", "--dry-run"], "leave them out with --out -"),
        ([*TO_OUT, "--colour"], "--colour"),
        ([*TO_OUT, "--over"], "--over"),
        ([*TO_OUT, "--epsilon", "40"], "0–32"),
        ([*TO_OUT, "--epsilon", "nan"], "0–32"),
        ([*TO_OUT, "--epsilon", "much"], "much"),
        ([*TO_OUT, "--epsilon", "0.5"], "nothing would be protected"),
        ([*TO_OUT, "--max-delta-e", "0"], "--max-delta-e is 0"),
        ([*TO_OUT, "--quality", "101", "--format", "same"], "--quality is 101"),
        ([*TO_OUT, "--quality", "90", "--format", "lossless"], "lossy files, not for --format lossless"),
        ([*TO_OUT, "--report", "nowhere/r.json"], "--report nowhere/r.json"),
        ([*TO_OUT, "--report", "a.png"], "would overwrite a photo"),
        ([*TO_OUT, "--report", "out/a.png"], "would overwrite a photo"),
        ([*TO_OUT, "--report", "."], "it is a folder"),
        ([*TO_OUT, "--report", "a.png/r.json"], "no folder that can be written to"),
        ([*TO_OUT, "--generator", "nowhere"], "nowhere"),
        ([*TO_OUT, "--workers", "0"], "--workers is 0"),
        ([*TO_OUT, "--workers", "2", "--method", "noise"], "leave it out"),
        ([*TO_OUT, "--workers", "2", "--surrogate", "portrait-dit", "--method", "mist"], "--workers 2 is for"),
        ([*TO_OUT, "--ray-address", "auto"], "--engine ray"),
    ],
)
def test_unusable_arguments_are_one_line_and_status_2(
    generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, arguments: list[str], expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.png", "old.gif"):
        smooth(1).save(name)
    Path("cut.png").write_bytes(Path("a.png").read_bytes()[:200])
    Path("photos.tar.gz").touch()
    Path("folder").mkdir()
    before = files(tmp_path)
    try:
        status = main(["protect", *arguments, *([] if "--generator" in arguments else ["--generator", str(generator)])])
    except SystemExit as stop:
        status = stop.code  # type: ignore[assignment]
    assert status == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")
    assert expected in line
    assert files(tmp_path) == before
    assert not Path("out").exists()
