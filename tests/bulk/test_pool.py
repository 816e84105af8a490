"""`--workers`: several processes give what one gives, and lose nothing when one of them dies or the user stops them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from functools import partial
from pathlib import Path

import pytest

from anti_i2v.__main__ import main
from anti_i2v.bulk.plan import plan_jobs
from anti_i2v.bulk.pool import run_in_processes
from anti_i2v.bulk.request import Request
from anti_i2v.bulk.results import Result
from anti_i2v.bulk.run import run_jobs
from anti_i2v.errors import UsageError
from tests.dying_protectors import calls, dying_protector, failing_protector
from tests.tiny.generator import Capture, files, save_photos, smooth

ROOT = Path(__file__).resolve().parents[2]
WIDTHS = (20, 21, 22, 23, 24, 25)


def shard(path: Path, widths: tuple[int, ...]) -> Path:
    save_photos(path.with_suffix(""), widths)
    with tarfile.open(path, "w") as tar:
        for width in widths:
            tar.add(path.with_suffix("") / f"{width}.png", f"{width}.png")
    return path


def protected(sources: list[Path], out: Path | None, **dying: object) -> list[Result]:
    """What becomes of them in two processes."""
    done: list[Result] = []
    engine = partial(run_in_processes, partial(dying_protector, **dying), 2)
    request = Request(tuple(sources), out, "lossless" if out else "same", mark=False, quiet=True)
    run_jobs(plan_jobs(sources, out, request.format).jobs, request, done, lambda jobs: engine)
    return done


def alone(sources: list[Path], out: Path) -> dict[str, bytes]:
    """The files of one process."""
    assert main(["protect", *map(str, sources), "--out", str(out), "--workers", "1", "--no-mark", "--quiet"]) == 0
    return files(out)


def nobody_is_left(group: int) -> bool:
    """Whether a group of processes ends within some seconds."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def test_two_workers_give_the_same_files_and_the_same_report_as_one(tmp_path: Path) -> None:
    sources = [save_photos(tmp_path / "photos", WIDTHS), shard(tmp_path / "00.tar", (30, 31))]
    (tmp_path / "photos/22.png").write_bytes(b"no photo")
    reports = []
    for n in (1, 2):
        out, report = tmp_path / str(n), tmp_path / f"{n}.json"
        command = ["protect", *map(str, sources), "--out", str(out), "--workers", str(n), "--report", str(report)]
        assert main(command) == 1
        reports.append(json.loads(report.read_text().replace(str(out), "")))
    assert files(tmp_path / "1") == files(tmp_path / "2")
    assert len(files(tmp_path / "1")) == 6
    for told in reports:
        for photo in (told, *told["photos"]):
            photo.pop("seconds", None)
    assert reports[0] == reports[1]
    assert reports[0]["counts"] == {"protected": 7, "skipped": 0, "failed": 1}


@pytest.mark.parametrize("when", ["protecting", "replacing", "answering"])
def test_a_killed_worker_loses_no_photo_and_does_none_twice(tmp_path: Path, when: str) -> None:
    folder, log = save_photos(tmp_path / "photos", WIDTHS), tmp_path / "log"
    done = protected([folder], tmp_path / "out", log=log, deaths={22: 1}, when=when)
    assert [(Path(o.source).name, o.status) for o in done] == [(f"{width}.png", "protected") for width in WIDTHS]
    assert files(tmp_path / "out") == alone([folder], tmp_path / "one")
    assert calls(log) == {width: 1 + (width == 22) for width in WIDTHS}


def test_what_kills_every_worker_is_named_and_the_rest_is_done(tmp_path: Path) -> None:
    sources = [save_photos(tmp_path / "photos", WIDTHS), shard(tmp_path / "00.tar", (22, 30)), shard(tmp_path / "01.tar", (31, 32))]
    done = protected(sources, tmp_path / "out", log=tmp_path / "log", deaths={22: 9})
    failed = [o for o in done if o.status == "failed"]
    assert [o.source for o in failed] == [str(tmp_path / "photos/22.png"), str(tmp_path / "00.tar")]
    for outcome in failed:
        assert "signal 9, twice" in outcome.reason
    assert [o.status for o in done].count("protected") == 7
    assert sorted(files(tmp_path / "out")) == ["01.tar", *(f"{width}.png" for width in WIDTHS if width != 22)]


def test_a_photo_in_place_is_protected_once_though_its_worker_is_killed_after_the_work(tmp_path: Path) -> None:
    folder, log = save_photos(tmp_path / "photos", (20, 21)), tmp_path / "log"
    before = files(folder)
    done = protected([folder], None, log=log, deaths={21: 1}, when="answering")
    assert [o.status for o in done] == ["protected", "protected"]
    after = files(folder)
    assert sorted(after) == ["20.png", "20.png_unprotected", "21.png", "21.png_unprotected"]
    (tmp_path / "again").mkdir()
    for name in ("20.png", "21.png"):
        assert after[f"{name}_unprotected"] == before[name]
        (tmp_path / "again" / name).write_bytes(before[name])
        assert after[name] == alone([tmp_path / "again" / name], tmp_path / "one")[name]
        assert max(o.measurement.steps for o in done if o.measurement) <= 8

    save_photos(tmp_path / "poison", (40,))
    (outcome,) = protected([tmp_path / "poison"], None, log=log, deaths={40: 9})
    assert outcome.status == "failed"
    assert list(files(tmp_path / "poison")) == ["40.png"]


def stopped(how: int, command: list[str], out: Path) -> tuple[int, str]:
    """Send a signal to a call once its first photo is done; the exit status and what was said."""
    group = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    group["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell script's background is deaf to it
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    running = subprocess.Popen([sys.executable, "-m", "anti_i2v", *command], env=environment, **group)  # type: ignore[call-overload]
    while not list(out.glob("*.png")) and running.poll() is None:
        time.sleep(0.02)
    if how == signal.SIGINT:
        os.killpg(running.pid, how)  # as a terminal does
    else:
        os.kill(running.pid, how)
    _, said = running.communicate(timeout=60)
    assert nobody_is_left(running.pid)
    return running.returncode, said


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal to a group of processes")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_call_leaves_complete_files_and_the_next_call_resumes(tmp_path: Path, capsys: Capture, how: int) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(8):
        smooth(i, 700, 900).save(folder / f"{i}.png")
    sources, out = [folder, shard(tmp_path / "00.tar", (30, 31))], tmp_path / "out"
    command = ["protect", *map(str, sources), "--out", str(out), "--workers", "2", "--no-mark"]
    status, said = stopped(how, command, out)
    if how == signal.SIGINT:
        assert status == 130
        assert said.strip() == "stopped; finished files are complete, run the same command again to go on"
    done = files(out)
    assert 0 < len(done) < 9
    assert not [name for name in done if name.endswith(".part")]
    assert main(command) == 0
    assert f"skipped {len(done)} " in capsys.readouterr().out
    whole = files(out)
    assert {name: whole[name] for name in done} == done
    assert whole == alone(sources, tmp_path / "one")


def test_workers_use_one_thread_each_unless_the_user_sets_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = plan_jobs([save_photos(tmp_path / "photos", (20,))], tmp_path / "out", "png").jobs
    for said in (None, "3"):
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        if said:
            monkeypatch.setenv("OMP_NUM_THREADS", said)
        with pytest.raises(UsageError, match=f"cannot begin: MemoryError: may use {said or 1} threads"):
            next(run_in_processes(failing_protector, 2, jobs, Request((), tmp_path), lambda: None))
        assert os.environ.get("OMP_NUM_THREADS") == said
