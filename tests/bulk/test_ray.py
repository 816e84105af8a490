"""`--engine ray`: a cluster of two actors on this machine loses nothing when one of them dies, and does nothing twice."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from anti_i2v.__main__ import main
from anti_i2v.bulk import request
from anti_i2v.bulk.plan import plan_jobs
from anti_i2v.bulk.request import Request
from anti_i2v.bulk.results import Result
from anti_i2v.bulk.run import run_jobs
from tests.dying_protectors import calls, dying_protector
from tests.tiny.generator import Capture, files, save_photos, smooth

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A Ray of two processors, started as the command does; starting one takes longer than all else here."""
    if request.find_spec("ray") is None:
        pytest.skip("Ray is not installed")
    from anti_i2v.bulk.ray import connect

    assert connect(None, 2)  # before anybody imports Ray, which reads then what it is asked for
    import ray

    assert [node["NodeManagerAddress"] for node in ray.nodes()] == ["127.0.0.1"]  # nobody else can reach it
    yield
    ray.shutdown()


@pytest.mark.skipif(request.find_spec("ray") is None, reason="Ray is not installed")
def test_a_cluster_that_does_not_answer_is_named_at_once(tmp_path: Path, capsys: Capture) -> None:
    smooth(1).save(tmp_path / "a.png")
    arguments = ["--out", str(tmp_path / "out"), "--engine", "ray", "--ray-address", "127.0.0.1:9"]
    assert main(["protect", str(tmp_path / "a.png"), *arguments]) == 2
    assert "check --ray-address" in capsys.readouterr().err


def test_a_killed_actor_loses_no_photo_and_does_none_twice_and_what_kills_every_actor_is_named(cluster: None, tmp_path: Path) -> None:
    from anti_i2v.bulk.ray import run_with_ray

    widths = range(20, 28)
    folder, log, done = save_photos(tmp_path / "photos", widths), tmp_path / "log", list[Result]()
    with tarfile.open(tmp_path / "00.tar", "w") as tar:
        tar.add(save_photos(tmp_path / "more", range(30, 33)), ".")
    out, ticks = tmp_path / "out", list[int]()
    dying = partial(dying_protector, log, {24: 9, 31: 1})  # one photo always, and once the shard
    jobs = plan_jobs([folder, tmp_path / "00.tar"], out, "lossless").jobs
    counting = lambda jobs, request, _: run_with_ray(dying, 2, 0, jobs, request, lambda: ticks.append(1))  # noqa: E731
    run_jobs(jobs, Request((), out, mark=False, quiet=True), done, lambda jobs: counting)

    assert [o.status for o in done] == ["protected" if width != 24 else "failed" for width in widths] + ["protected"] * 3
    assert "24.png: the processes that protected it died, 3 times" in done[4].message()
    assert sorted(o.output or "" for o in done[8:]) == ["./30.png", "./31.png", "./32.png"]
    assert len(ticks) == 10
    assert {width: calls(log)[width] for width in (*widths, 31)} == {**dict.fromkeys(widths, 1), 24: 3, 31: 2}
    (folder / "24.png").unlink()
    assert main(["protect", str(folder), str(tmp_path / "00.tar"), "--out", str(tmp_path / "one"), "--no-mark", "--quiet"]) == 0
    assert files(out) == files(tmp_path / "one")  # and nothing incomplete is left


def test_the_command_goes_on_where_it_stopped_and_reports_what_one_process_would(
    cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    save_photos(tmp_path / "photos", range(20, 24))
    (tmp_path / "photos/bad.png").write_bytes(b"no photo")
    reports = []
    for engine, name in (("pool", "one"), ("ray", "two")):
        (tmp_path / name).mkdir()
        assert main(["protect", "photos/22.png", "--out", name, "--quiet"]) == 0
        assert main(["protect", "photos", "--out", name, "--engine", engine, "--report", f"{name}.json"]) == 1
        assert "skipped 1 that an earlier call has done" in capsys.readouterr().out
        reports.append(json.loads(Path(f"{name}.json").read_text().replace(f'"{name}', '"')))
        for told in (reports[-1], *reports[-1]["photos"]):
            told.pop("seconds", None)
    assert reports[0] == reports[1]
    assert reports[0]["counts"] == {"protected": 3, "skipped": 1, "failed": 1}
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_actors_know_copies_without_dates_by_their_marks(cluster: None, tmp_path: Path, capsys: Capture) -> None:
    photos, out = save_photos(tmp_path / "photos", (20,)), tmp_path / "out"
    for expected in ("protected 1 photo", "skipped 1 that an earlier call has done"):
        assert main(["protect", str(photos), "--out", str(out), "--engine", "ray", "--quiet"]) == 0
        assert expected in capsys.readouterr().out
        os.utime(out / "20.png", (1e9, 1e9))


def test_without_ray_the_message_names_the_package_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr(request, "find_spec", lambda name: None)
    smooth(1).save(tmp_path / "a.png")
    assert main(["protect", str(tmp_path / "a.png"), "--out", str(tmp_path / "out"), "--engine", "ray"]) == 2
    assert "pip install 'anti-i2v[bulk]'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
