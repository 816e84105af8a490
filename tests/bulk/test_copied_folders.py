"""Outputs that were copied without their dates are known by their marks: which say what they were made of, to whoever has the secret."""

from __future__ import annotations

import os
import shutil
import tarfile
from functools import partial
from pathlib import Path

import pytest

from anti_i2v.bulk import reruns
from anti_i2v.bulk.plan import plan_jobs
from anti_i2v.bulk.pool import run_in_processes
from anti_i2v.bulk.request import Request
from anti_i2v.bulk.results import Result
from anti_i2v.bulk.run import run_jobs
from anti_i2v.imaging.metadata.statements import find_source
from anti_i2v.imaging.reading import read_photo
from anti_i2v.keys import PUBLIC_KEY, source_digest
from tests.keyed_protectors import keyed_protector
from tests.tiny.generator import Capture, Protect, files, save_photos, smooth

SUFFIXES = ("jpg", "png", "tif", "webp", "avif")


def album(folder: Path) -> Path:
    """A photo of each kind, each some minutes old."""
    folder.mkdir()
    for number, suffix in enumerate(SUFFIXES):
        smooth(number).save(folder / f"{number}.{suffix}")
        os.utime(folder / f"{number}.{suffix}", (1_700_000_000 + 60 * number,) * 2)
    return folder


def without_dates(folder: Path, copy: Path) -> Path:
    """As `cp -r` copies."""
    shutil.copytree(folder, copy, copy_function=shutil.copyfile)
    return copy


def dates(folder: Path) -> set[int]:
    return {round(path.stat().st_mtime) for path in folder.iterdir()}


def same(folder: Path) -> tuple[object, ...]:
    return folder, "--format", "same", "--key", "none"


def test_a_copy_without_dates_is_known_and_the_next_run_reads_nothing(
    protect: Protect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    photos = album(tmp_path / "photos")
    assert protect(*same(photos), "--out", tmp_path / "out") == 0
    copy = without_dates(tmp_path / "out", tmp_path / "copy")
    before = files(copy)
    assert protect(*same(photos), "--out", copy, "--dry-run") == 0
    assert "0 of 5 to do" in capsys.readouterr().out
    assert not dates(copy) & dates(photos)
    assert protect(*same(photos), "--out", copy) == 0
    assert "skipped 5 that an earlier call has done" in capsys.readouterr().out
    assert files(copy) == before
    assert dates(copy) == dates(photos)

    monkeypatch.setattr(reruns, "find_source", lambda file: pytest.fail("a date said it already"))
    assert protect(*same(photos), "--out", copy) == 0
    assert "skipped 5 " in capsys.readouterr().out


def test_photos_in_place_are_known_too_and_overwriting_them_asks_for_their_dates(protect: Protect, tmp_path: Path, capsys: Capture) -> None:
    photos = album(tmp_path / "photos")
    assert protect(photos, "--in-place") == 0
    copy = without_dates(photos, tmp_path / "copy")
    for number, path in enumerate(sorted(copy.iterdir())):  # a slow disk
        os.utime(path, (1_710_000_000 + 60 * number,) * 2)
    before = files(copy)
    assert protect(copy, "--in-place", "--overwrite") == 2  # a photo that was edited since would be lost
    assert "is neither 0.jpg_unprotected nor what an earlier call made of it" in capsys.readouterr().err
    assert protect(copy, "--in-place") == 0
    assert "skipped 5 that an earlier call has done" in capsys.readouterr().out
    assert protect(copy, "--in-place", "--overwrite") == 2  # that a call took them for done does not make them known
    assert files(copy) == before


@pytest.mark.parametrize("what", ["edited", "no mark", "another key", "bmp", "shard"])
def test_what_no_mark_knows_is_named(protect: Protect, tmp_path: Path, capsys: Capture, what: str) -> None:
    (tmp_path / "my.key").write_bytes(bytes(range(40)))
    source = tmp_path / ("a.bmp" if what == "bmp" else "a.png")
    smooth(1).save(source)
    if what == "shard":
        with tarfile.open(tmp_path / "a.tar", "w") as tar:
            tar.add(source, "a.png")
        source = tmp_path / "a.tar"
    options = ["--no-mark"] if what == "no mark" else ["--key", tmp_path / "my.key"] if what == "another key" else []
    assert protect(source, "--out", tmp_path / "out", *options) == 0
    if what == "edited":
        smooth(2).save(source)
    os.utime(tmp_path / "out" / source.name, (1e9, 1e9))
    before = files(tmp_path / "out")
    capsys.readouterr()
    assert protect(source, "--out", tmp_path / "out") == 2
    expected = "was not made of" if what == "shard" else "neither its date nor a mark under this key says that it was made of"
    assert f"{tmp_path / 'out' / source.name} is there, " in (said := capsys.readouterr().err)
    assert expected in said
    assert files(tmp_path / "out") == before
    assert round((tmp_path / "out" / source.name).stat().st_mtime) == 10**9


def test_a_mark_holds_the_digest_of_the_whole_file(protect: Protect, tmp_path: Path) -> None:
    smooth(1).save(tmp_path / "a.png")
    secret = bytes(range(40))
    (tmp_path / "my.key").write_bytes(secret)
    for options, expected in ((("--key", tmp_path / "my.key"), secret), (("--method", "noise"), PUBLIC_KEY)):
        assert protect(tmp_path / "a.png", "--out", tmp_path / options[0], *options) == 0
        with (tmp_path / options[0] / "a.png").open("rb") as written, (tmp_path / "a.png").open("rb") as photo:
            assert find_source(written) == source_digest(expected, photo)
    with tarfile.open(tmp_path / "00.tar", "w") as tar:
        tar.add(tmp_path / "a.png", "a.png")
    assert protect(tmp_path / "00.tar", "--out", tmp_path / "out", "--key", tmp_path / "my.key") == 0
    with tarfile.open(tmp_path / "out/00.tar") as tar:
        assert tar.extractfile("a.png").read() == (tmp_path / "--key/a.png").read_bytes()  # type: ignore[union-attr]
    assert protect(tmp_path / "a.png", "--out", tmp_path / "plain", "--no-mark") == 0
    assert b"Source" not in (tmp_path / "plain/a.png").read_bytes()


def test_a_dry_run_makes_no_secret_to_ask_marks(protect: Protect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smooth(1).save(tmp_path / "a.png")
    assert protect(tmp_path / "a.png", "--out", tmp_path / "out") == 0
    os.utime(tmp_path / "out/a.png", (1e9, 1e9))
    assert protect(tmp_path / "a.png", "--out", tmp_path / "out", "--dry-run") == 0  # with the secret that is there
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("APPDATA", str(tmp_path / "config"))
    assert protect(tmp_path / "a.png", "--out", tmp_path / "out", "--dry-run") == 1
    assert not (tmp_path / "config").exists()


def test_processes_ask_marks_with_the_secret_that_they_read(tmp_path: Path) -> None:
    photos, out = save_photos(tmp_path / "photos", (20, 21)), tmp_path / "out"
    (tmp_path / "my.key").write_bytes(bytes(range(40)))
    (tmp_path / "my.key").chmod(0o600)
    request = Request((), out, key=str(tmp_path / "my.key"), quiet=True)
    engine = partial(run_in_processes, partial(keyed_protector, request.key), 2)
    for expected in ("protected", "skipped"):
        done = list[Result]()
        run_jobs(plan_jobs([photos], out, "same").jobs, request, done, lambda jobs: engine)
        assert [result.status for result in done] == [expected] * 2
        for path in out.iterdir():
            assert abs(path.stat().st_mtime - (photos / path.name).stat().st_mtime) < 0.01
            os.utime(path, (1e9, 1e9))
    assert read_photo(out / "20.png").size == (20, 30)
