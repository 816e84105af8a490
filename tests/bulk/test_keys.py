"""Keys on the whole way: each photo has its own, whoever protects it; and no file, mark, report or message holds secret or key."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anti_i2v.__main__ import main
from anti_i2v.bulk import loading
from anti_i2v.bulk.engines import Engine, choose_engine, run_in_threads, run_in_turn
from anti_i2v.bulk.plan import plan_jobs
from anti_i2v.bulk.pool import run_in_processes
from anti_i2v.bulk.protector import PhotoProtector
from anti_i2v.bulk.request import Request
from anti_i2v.bulk.results import Result
from anti_i2v.bulk.run import run, run_jobs
from anti_i2v.imaging.reading import read_photo
from anti_i2v.inference import protect_photo
from anti_i2v.keys import default_path, load_secret, photo_key
from tests.keyed_protectors import KeyedBackend, keyed_protector
from tests.tiny.generator import Capture, Protect, files, smooth

SECRET = bytes(range(7, 39))


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "my.key"
    path.write_bytes(SECRET)
    path.chmod(0o600)
    return path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a secret would be made."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("APPDATA", str(tmp_path / "config"))
    return default_path()


@pytest.fixture
def keyed(monkeypatch: pytest.MonkeyPatch) -> KeyedBackend:
    """A generator that takes a key, in this process."""
    backend = KeyedBackend()
    monkeypatch.setattr(loading, "load_backend", lambda folder, name: backend)
    return backend


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(3):
        smooth(seed).save(folder / f"{seed}.png")
    smooth(0).save(folder / "same.png")
    return folder


def residual(before: Path, after: Path) -> np.ndarray:
    return np.asarray(read_photo(after), int) - np.asarray(read_photo(before), int)


def test_the_same_photo_gets_the_same_bytes_and_two_secrets_or_photos_give_two(
    keyed: KeyedBackend, protect: Protect, photos: Path, key: Path, home: Path, tmp_path: Path
) -> None:
    for name, options in {"own": (), "again": (), "file": ("--key", key), "none": ("--key", "none")}.items():
        assert protect(photos, "--out", tmp_path / name, *options) == 0
    assert files(tmp_path / "own") == files(tmp_path / "again")
    changes = [residual(photos / "0.png", tmp_path / name / "0.png") for name in ("own", "file", "none")]
    changes.append(residual(photos / "1.png", tmp_path / "own/1.png"))
    for i, one in enumerate(changes):
        for other in changes[:i]:
            assert np.abs(one - other).mean() > 1
    assert files(tmp_path / "own")["0.png"] == files(tmp_path / "own")["same.png"]  # whatever a photo is called
    assert len(home.read_bytes()) == 32


def test_the_key_is_that_of_the_upright_srgb_bytes(keyed: KeyedBackend) -> None:
    upright = smooth(1)
    lying = upright.transpose(Image.Transpose.ROTATE_90)
    lying.getexif()[274] = 6
    for photo in (upright, lying):
        protect_photo(keyed, photo, 8, SECRET)
        np.testing.assert_array_equal(keyed.keys.pop(), photo_key(SECRET, np.asarray(upright)))


def test_a_large_photo_has_a_key_too(keyed: KeyedBackend) -> None:
    """It is that of its blocks' means."""
    large = smooth(1, 960, 1000)
    assert protect_photo(keyed, large, 8, SECRET).tobytes() == protect_photo(keyed, large, 8, SECRET).tobytes()
    np.testing.assert_array_equal(keyed.keys[0], photo_key(SECRET, np.asarray(large.reduce(2))))


@pytest.mark.parametrize("source", ["own", "file", "none"])
def test_threads_processes_and_shards_use_the_same_secret(source: str, photos: Path, key: Path, home: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "00.tar", "w") as tar:
        tar.add(photos, ".")
    given = {"own": None, "file": str(key), "none": "none"}[source]
    first, load = keyed_protector(given), partial(keyed_protector, given)
    engines: dict[str, Engine] = {
        "turn": partial(run_in_turn, first),
        "threads": partial(run_in_threads, first, 3),
        "processes": partial(run_in_processes, load, 2),
    }
    found = {}
    for name, engine in engines.items():
        out, done = tmp_path / name, list[Result]()
        jobs = plan_jobs([photos, tmp_path / "00.tar"], out, "lossless").jobs
        run_jobs(jobs, Request((), out, quiet=True), done, lambda jobs, engine=engine: engine)  # type: ignore[misc]
        assert {result.status for result in done} == {"protected"}
        found[name] = files(out)
    assert found["turn"] == found["threads"] == found["processes"]
    with tarfile.open(tmp_path / "turn/00.tar") as tar:
        member = tar.extractfile("./0.png")
        assert member is not None
        assert member.read() == found["turn"]["0.png"]


@pytest.mark.parametrize("engine", ["pool", "ray"])
def test_workers_are_told_which_file_and_not_what_is_in_it(
    engine: str, key: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if engine == "ray" and find_spec("ray") is None:  # not imported: Ray reads then what `bulk.ray` asks of it
        pytest.skip("needs anti-i2v[bulk]")
    monkeypatch.chdir(tmp_path)
    for given, expected in ((None, str(home)), ("my.key", str(key)), ("none", "none")):
        chosen = choose_engine(Request((), Path("out"), key=given, engine=engine, workers=2), keyed_protector(given), [])
        (load, *_) = chosen.args  # type: ignore[attr-defined]
        assert [request.key for request in load.args] == [expected]


def test_a_worker_that_has_no_secret_makes_none(home: Path, photos: Path, tmp_path: Path) -> None:
    """A machine of a cluster with a home of its own would otherwise give photos other keys."""
    load = partial(keyed_protector, str(home))
    with pytest.raises(ValueError, match=r"cannot read the key .*--key none"):
        list(run_in_processes(load, 1, plan_jobs([photos], tmp_path / "out", "png").jobs, Request((), tmp_path), lambda: None))
    assert not home.exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_no_output_holds_the_secret_or_a_key(photos: Path, key: Path, tmp_path: Path, capsys: Capture, workers: int) -> None:
    smooth(5).save(photos / "5.jpg", exif=smooth(5).getexif())
    (photos / "bad.png").write_bytes(b"no photo")
    with tarfile.open(tmp_path / "00.tar", "w") as tar:
        tar.add(photos / "0.png", "0.png")
    out = tmp_path / "out"
    options = ("--format", "same", "--report", tmp_path / "report.json", "--workers", workers, "--key", key)
    assert main(["protect", *map(str, (photos, tmp_path / "00.tar", "--out", out, *options))]) == 1
    said = capsys.readouterr()
    texts = [said.out.encode(), said.err.encode(), (tmp_path / "report.json").read_bytes(), *files(out).values()]
    for path in out.rglob("*.png"):
        texts.append(repr(read_photo(path).info).encode())
    assert json.loads((tmp_path / "report.json").read_text())["counts"]["protected"] == 6
    assert_silent(texts, photos)


def test_a_pipe_uses_the_key_and_holds_it_nowhere(
    keyed: KeyedBackend, protect: Protect, photos: Path, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: object
) -> None:
    assert protect(photos / "0.png", "--out", tmp_path / "out", "--key", key) == 0
    capsysbinary.readouterr()  # type: ignore[attr-defined]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((photos / "0.png").read_bytes())))
    assert protect("-", "--out", "-", "--key", key) == 0
    out, errors = capsysbinary.readouterr()  # type: ignore[attr-defined]
    assert out == (tmp_path / "out/0.png").read_bytes()
    assert_silent([out, errors], photos)


def test_results_and_protectors_do_not_show_it(keyed: KeyedBackend, photos: Path, key: Path, tmp_path: Path) -> None:
    """A traceback or a log prints them whole."""
    request = Request((photos,), tmp_path / "out", key=str(key), quiet=True)
    results = run(request)
    assert results.protector is not None
    assert_silent([repr(results).encode(), repr(results.protector.mark(8)).encode()], photos)


def assert_silent(texts: list[bytes], photos: Path) -> None:
    """Neither the secret nor a photo's key is in any of these, as bytes, hexadecimal, base64 or decimal."""
    import base64

    traces = [SECRET, SECRET.hex().encode(), base64.b64encode(SECRET)[:40], repr(SECRET)[2:-1].encode(), repr(list(SECRET))[1:-1].encode()]
    for path in photos.glob("?.png"):
        own = photo_key(SECRET, np.asarray(read_photo(path))) if path.stat().st_size > 100 else None
        if own is not None:
            traces += [own.tobytes(), own.tobytes().hex().encode(), f"{own[0]:.5f}".encode(), base64.b64encode(own.tobytes())[:40]]
    for text in texts:
        for trace in traces:
            assert trace not in text


def test_a_dry_run_makes_no_secret(protect: Protect, photos: Path, home: Path, tmp_path: Path) -> None:
    assert protect(photos, "--out", tmp_path / "out", "--dry-run") == 0
    assert not home.parent.parent.exists()
    assert protect(photos, "--out", tmp_path / "out", "--key", "none") == 0
    assert not home.parent.parent.exists()
    assert protect(photos, "--out", tmp_path / "out", "--overwrite") == 0
    assert home.is_file()


@pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")
def test_a_key_that_others_may_read_is_warned_of_once(photos: Path, key: Path, tmp_path: Path) -> None:
    key.chmod(0o644)
    command = [sys.executable, "-m", "anti_i2v", "protect", photos, "--out", tmp_path / "out", "--key", key]
    done = subprocess.run([*map(str, command), "--workers", "2", "--quiet"], capture_output=True, text=True, check=True)
    assert done.stderr == f"warning: others may read the key {key} (mode 644); chmod 600 it\n"
    assert len(files(tmp_path / "out")) == 4


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--key", "nowhere/my.key"), "cannot read the key nowhere/my.key: No such file"),
        (("--key", "."), "it is a folder"),
        (("--key", "empty"), "it is empty"),
        (("--key", ""), "--key is empty; give a file, or none"),
        (("--key", "empty", "--method", "noise"), "--method alone runs none; leave it out, or add --refine K"),
        (("--key", "none", "--method", "mist", "--surrogate", "portrait-dit"), "--key none is for a generator"),
        (("--key", "empty", "--refine", "2", "--surrogate", "portrait-dit"), "it is empty"),
    ],
)
def test_keys_that_cannot_be_used_are_one_line_and_status_2(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, options: tuple[str, ...], expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").touch()
    assert main(["protect", str(photos), "--out", "out", *options]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")
    assert expected in line
    assert not Path("out").exists()


def test_the_default_secret_is_the_users_own(home: Path, photos: Path) -> None:
    protector: PhotoProtector = keyed_protector()
    with Image.open(photos / "0.png") as photo:
        assert protector.protect(photo, 8).tobytes() == protect_photo(KeyedBackend(), photo, 8, load_secret(str(home))).tobytes()
