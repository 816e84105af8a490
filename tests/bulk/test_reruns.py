"""The second call: what it takes for done, what it refuses to overwrite, and what earlier calls left behind."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tarfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anti_i2v.atomic import digest
from anti_i2v.bulk import photo as bulk_photo
from anti_i2v.bulk.job import ABANDONED
from anti_i2v.errors import UsageError
from tests.tiny.generator import Capture, Protect, smooth

ROOT = Path(__file__).resolve().parents[2]


def photo(path: Path, seed: int, age: int = 0) -> Path:
    """A photo that is so many seconds old."""
    path.parent.mkdir(exist_ok=True)
    smooth(seed).save(path)
    os.utime(path, (path.stat().st_mtime - age,) * 2)
    return path


def test_a_new_photo_of_an_old_name_is_protected_in_place_and_not_lost(protect: Protect, tmp_path: Path, capsys: Capture) -> None:
    path = photo(tmp_path / "a" / "1.png", 1, 500)
    first = path.read_bytes()
    assert protect(tmp_path / "a", "--in-place") == 0
    assert protect(tmp_path / "a", "--in-place") == 0
    assert "skipped 1 that an earlier call has done" in capsys.readouterr().out
    photo(path, 2, 100)
    second = path.read_bytes()
    for more in ([], ["--overwrite"]):
        assert protect(tmp_path / "a", "--in-place", *more) == 2
        assert "1.png is neither 1.png_unprotected nor what an earlier call made of it; move one" in capsys.readouterr().err
        assert path.read_bytes() == second
        assert path.with_name("1.png_unprotected").read_bytes() == first
    path.with_name("1.png_unprotected").rename(tmp_path / "kept.png")
    assert protect(tmp_path / "a", "--in-place") == 0
    assert path.with_name("1.png_unprotected").read_bytes() == second


def test_in_place_is_done_again_from_the_kept_photo_with_overwrite(protect: Protect, tmp_path: Path) -> None:
    path = photo(tmp_path / "a.bmp", 1, 500)  # a protected BMP has the size of its photo, and its date
    first = path.read_bytes()
    for more in ([], ["--overwrite"], ["--overwrite"]):
        assert protect(path, "--in-place", *more) == 0
        assert path.with_name("a.bmp_unprotected").read_bytes() == first != path.read_bytes()


def test_a_photo_that_is_saved_again_at_once_is_another(protect: Protect, tmp_path: Path) -> None:
    path = photo(tmp_path / "a.bmp", 1)  # all these files have one size
    assert protect(path, "--in-place") == 0
    photo(path, 2)
    before = path.read_bytes()
    assert protect(path, "--in-place", "--overwrite") == 2
    assert path.read_bytes() == before


def test_a_memory_card_that_keeps_even_seconds_does_not_matter(protect: Protect, tmp_path: Path, capsys: Capture) -> None:
    path, out = photo(tmp_path / "a.png", 1), tmp_path / "out"
    assert protect(path, "--out", out) == 0
    os.utime(out / "a.png", (0, path.stat().st_mtime // 2 * 2))
    assert protect(path, "--out", out) == 0
    assert "skipped 1 " in capsys.readouterr().out


@pytest.mark.parametrize("what", ["another", "edited", "foreign", "other format"])
def test_a_file_that_was_not_made_of_the_photo_is_named(protect: Protect, tmp_path: Path, capsys: Capture, what: str) -> None:
    protect, out = partial(protect, "--format", "lossless"), tmp_path / "out"
    assert protect(photo(tmp_path / "one" / "a.png", 1, 900), "--out", out) == 0
    source = tmp_path / "one" / "a.png"
    if what == "another":
        source = photo(tmp_path / "two" / "a.png", 2, 600)
    elif what == "edited":
        photo(source, 3)
    elif what == "foreign":
        photo(out / "a.png", 4, 30)
    else:
        source = photo(tmp_path / "one" / "a.jpg", 1, 300)
    before = (out / "a.png").read_bytes()
    capsys.readouterr()
    assert protect(source, "--out", out) == 2
    assert f"{out / 'a.png'} is there, but was not made of {source} as it is now; --overwrite replaces it" in capsys.readouterr().err
    assert protect(source, "--out", out, "--dry-run") == 1
    assert "0 of 1 to do" in capsys.readouterr().out
    assert (out / "a.png").read_bytes() == before
    assert protect(source, "--out", out, "--overwrite") == 0
    assert protect(source, "--out", out) == 0
    assert "skipped 1 " in capsys.readouterr().out


def test_a_shard_without_a_photo_that_failed_is_not_done(protect: Protect, tmp_path: Path, capsys: Capture) -> None:
    with tarfile.open(tmp_path / "00.tar", "w") as tar:
        tar.add(photo(tmp_path / "a.png", 1), "a.png")
        (tmp_path / "b.png").write_bytes(b"none")
        tar.add(tmp_path / "b.png", "b.png")
    os.utime(tmp_path / "00.tar", (1e9, 1e9))
    assert protect(tmp_path / "00.tar", "--out", tmp_path / "out") == 1
    capsys.readouterr()
    assert protect(tmp_path / "00.tar", "--out", tmp_path / "out") == 2
    assert "or lacks photos that failed" in capsys.readouterr().err
    with tarfile.open(tmp_path / "00.tar", "w") as tar:
        tar.add(tmp_path / "a.png", "a.png")
    for more, said in ((["--overwrite"], "protected 1 photo"), ([], "skipped 1 ")):
        assert protect(tmp_path / "00.tar", "--out", tmp_path / "out", *more) == 0
        assert said in capsys.readouterr().out


@pytest.mark.skipif(sys.platform == "win32", reason="rights are others there")
def test_a_protected_photo_has_the_date_and_the_rights_of_its_source(protect: Protect, tmp_path: Path) -> None:
    for name, rights in (("a.png", 0o600), ("b.jpg", 0o444)):
        photo(tmp_path / "in" / name, 1, 10_000).chmod(rights)
    (tmp_path / "in" / "a.png").chmod(0o600)
    before = {path.name: path.stat() for path in (tmp_path / "in").iterdir()}
    for arguments, folder in ((["--out", tmp_path / "out"], "out"), (["--in-place"], "in")):
        assert protect(tmp_path / "in", *arguments) == 0
        for name, was in before.items():
            now = (tmp_path / folder / name).stat()
            assert abs(now.st_mtime - was.st_mtime) < 0.01
            assert stat.S_IMODE(now.st_mode) == stat.S_IMODE(was.st_mode) | 0o200
            assert (now.st_uid, now.st_gid) == (was.st_uid, was.st_gid)


def test_a_file_that_is_not_as_it_should_be_never_gets_its_name(
    protect: Protect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def unlike(*_: object) -> None:
        raise UsageError("it is not as it should be")

    monkeypatch.setattr(bulk_photo, "measure", unlike)
    path = photo(tmp_path / "a" / "a.png", 1)
    before = path.read_bytes()
    for arguments in (["--out", tmp_path / "out"], ["--in-place"]):
        assert protect(path, *arguments) == 2
        assert "it is not as it should be" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.rglob("*")] == ["a", "a.png"]


@pytest.mark.skipif(os.name == "nt", reason="nobody may be asked there whether a process runs")
def test_what_killed_calls_left_is_removed_and_what_running_ones_write_stays(protect: Protect, tmp_path: Path) -> None:
    path, out = photo(tmp_path / "a.png", 1), tmp_path / "out"
    out.mkdir()
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    old, running, fresh, others = (
        out / f".{digest(out / name)}.{pid}.part"
        for name, pid in (("a.png", ended.pid), ("a.png", os.getppid()), ("a.png", ended.pid + 10**7), ("b.png", ended.pid))
    )
    for part in (old, running, fresh, others):
        part.touch()
    for part in (old, running, others):
        os.utime(part, (part.stat().st_mtime - 2 * ABANDONED,) * 2)
    assert protect(path, "--out", out) == 0
    assert sorted(out.iterdir()) == sorted([running, fresh, others, out / "a.png"])


def test_skipped_files_of_a_folder_are_reported(protect: Protect, tmp_path: Path, capsys: Capture) -> None:
    photo(tmp_path / "in" / "a.png", 1)
    photo(tmp_path / "in" / ".hidden.png", 2)
    photo(tmp_path / "elsewhere" / "b.png", 3)
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "elsewhere")
    for companion in (".DS_Store", "._a.png"):
        (tmp_path / "in" / companion).touch()
    assert protect(tmp_path / "in", "--out", tmp_path / "out") == 0
    assert "2 other files left alone" in capsys.readouterr().out


def test_words_that_a_terminal_cannot_show_end_no_call(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    photo(tmp_path / "a.png", 1)
    own = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)}
    for more in (["--dry-run"], []):
        call = [sys.executable, "-m", "anti_i2v", "protect", "a.png", "--out", "out", *more]
        done = subprocess.run(call, cwd=tmp_path, env=own, capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stderr) == (0, "")
    assert "E2000" in done.stdout


def test_a_generator_is_used_at_the_strength_that_it_was_made_for(tmp_path: Path, capsys: Capture) -> None:
    from anti_i2v.__main__ import main
    from anti_i2v.protector import Protector
    from tests.tiny.generator import tiny_generator

    folder = tiny_generator(tmp_path / "generator")
    protector = Protector.from_pretrained(folder)
    protector.epsilon = 3.0
    protector.save_pretrained(folder)
    source = photo(tmp_path / "a.png", 1)
    for more, steps in (([], 3), (["--strength", "standard"], 8), (["--epsilon", "5"], 5)):
        out = tmp_path / f"out{steps}"
        assert main(["protect", str(source), "--out", str(out), "--generator", str(folder), "--quiet", *more]) == 0
        before, after = (np.asarray(Image.open(path), dtype=int) for path in (source, out / "a.png"))
        assert np.abs(after - before).max() == steps
    protector.epsilon = 0.5
    protector.save_pretrained(folder)
    assert main(["protect", str(source), "--out", str(tmp_path / "none"), "--generator", str(folder)]) == 2
    assert "is for epsilon 0.5, which leaves no whole 8-bit step; give --epsilon" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
