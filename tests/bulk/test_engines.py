"""The number of processes that a call starts by default."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from anti_i2v.__main__ import main
from anti_i2v.bulk.engines import worthwhile_processes
from anti_i2v.bulk.loading import one_pass
from anti_i2v.bulk.plan import Job
from tests.tiny.generator import smooth


@pytest.mark.parametrize(("photos", "shards", "expected"), [(15, 0, 1), (16, 0, 2), (400, 0, 4), (3, 1, 1), (0, 3, 3), (9, 1, 2)])
def test_processes_are_started_where_they_pay(
    photos: int, shards: int, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    names = [f"{i}.png" for i in range(photos)] + [f"{i}.tar" for i in range(shards)]
    jobs = [Job(tmp_path / name, tmp_path / "out" / name) for name in names]
    assert worthwhile_processes(one_pass(), jobs) == expected
    assert worthwhile_processes(one_pass(runtime="torch"), jobs) == 1


def test_a_folder_in_several_processes_is_the_folder_in_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    (tmp_path / "photos").mkdir()
    for i in range(16):
        smooth(i).save(tmp_path / "photos" / f"{i}.png")
    for name, more in (("several", []), ("one", ["--workers", "1"])):
        assert main(["protect", str(tmp_path / "photos"), "--out", str(tmp_path / name), "--quiet", *more]) == 0
    assert len(list((tmp_path / "one").iterdir())) == 16
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "several" / path.name).read_bytes()
